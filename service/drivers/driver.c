/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/driver.h"

void gl_driver_free(GlDriver *driver) {
        if (driver)
                driver->ops->free(driver);
}
