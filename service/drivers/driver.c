/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/driver.h"

gboolean gl_driver_can(const GlDriver *driver, const char *capability) {
        return g_strv_contains(driver->ops->capabilities, capability);
}

void gl_driver_free(GlDriver *driver) {
        if (driver)
                driver->ops->free(driver);
}
