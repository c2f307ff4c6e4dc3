/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service.h"

/* The start of a service whose predecessor left guests behind. */

typedef struct GlAdoption GlAdoption;

GlAdoption *gl_adoption_new(GlService *service, GlAdopted adopted, gpointer user_data);
void gl_adoption_free(GlAdoption *adoption);
void gl_adoption_start(GlAdoption *adoption);
/* TRUE if CHANGE, a reply, is to the adoption. */
gboolean gl_adoption_answered(GlAdoption *adoption, const GlChange *change);
