/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/polkit-messages.h"

#include "core/error.h"

/* Whatever is not a clear yes is a no. */

#define ALLOW_USER_INTERACTION 1

/* --- questions --- */

static int append_details(sd_bus_message *message, const char *const *details) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "{ss}");
        for (; r >= 0 && details && details[0]; details += 2)
                r = sd_bus_message_append(message, "{ss}", details[0], details[1]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

int gl_polkit_write_question(sd_bus *bus, const char *sender, const GlQuestion *question, const char *cancellation,
                             sd_bus_message **message) {
        g_autofree char *action = g_strconcat("org.guestlock1.", question->action, NULL);
        int r;

        r = sd_bus_message_new_method_call(bus, message, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(*message, "(sa{sv})s", "system-bus-name", 1, "name", "s", sender, action);
        if (r < 0)
                return r;
        r = append_details(*message, question->details);
        if (r < 0)
                return r;
        return sd_bus_message_append(*message, "us", cancellation ? ALLOW_USER_INTERACTION : 0, cancellation ?: "");
}

/* --- answers --- */

static void refuse(GError **error, const char *sentence) {
        g_set_error_literal(error, GL_ERROR, GL_ERROR_ACCESS_DENIED, sentence);
}

GError *gl_polkit_silence(void) {
        return g_error_new_literal(GL_ERROR, GL_ERROR_ACCESS_DENIED,
                                   "polkit did not answer, and only root may do this without it.");
}

/* polkit is not there, and cannot be started. */
static gboolean is_absence(const sd_bus_error *failure) {
        return sd_bus_error_has_name(failure, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
               sd_bus_error_has_name(failure, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
               g_str_has_prefix(failure->name, "org.freedesktop.DBus.Error.Spawn.") ||
               g_str_has_prefix(failure->name, "org.freedesktop.systemd1.");
}

static void explain_failure(const sd_bus_error *failure, GError **error) {
        if (is_absence(failure))
                refuse(error, "polkit is not running, and only root may do this without it.");
        else if (sd_bus_error_has_name(failure, SD_BUS_ERROR_NO_REPLY))
                g_propagate_error(error, gl_polkit_silence());
        else
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED, "polkit cannot say whether this is allowed: %s",
                            failure->message ?: failure->name);
}

GlAnswer gl_polkit_read_answer(sd_bus_message *reply, gboolean dialog, GError **error) {
        const sd_bus_error *failure = sd_bus_message_get_error(reply);
        int authorized, challenge;

        if (failure) {
                explain_failure(failure, error);
                return GL_ANSWER_NO;
        }
        if (sd_bus_message_has_signature(reply, "(bba{ss})") <= 0 ||
            sd_bus_message_enter_container(reply, 'r', "bba{ss}") <= 0 ||
            sd_bus_message_read(reply, "bb", &authorized, &challenge) <= 0) {
                refuse(error, "polkit answered something that is neither yes nor no.");
                return GL_ANSWER_NO;
        }
        if (authorized)
                return GL_ANSWER_YES;
        if (challenge && !dialog)
                return GL_ANSWER_CHALLENGE;
        if (challenge)
                refuse(error, "This needs a password, and polkit got none that it accepts or found nobody to ask.");
        return GL_ANSWER_NO;
}
