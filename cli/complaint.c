/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one table from errors to exit statuses and to what helps. The sentence itself is the service's. */

#include "complaint.h"

#include <stdio.h>

#include <guestlock-enum-types.h>

#include "json.h"
#include "screen.h"

GlExit gl_exit_of(const GError *error) {
        if (error->domain == G_OPTION_ERROR)
                return GL_EXIT_USAGE;
        return g_error_matches(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_CONFLICT) ||
                               g_error_matches(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_TIMEOUT)
                       ? GL_EXIT_CONFLICT
                       : GL_EXIT_FAILED;
}

/* As a shell takes it. */
static char *quoted(const char *text, const char *otherwise) {
        if (!text)
                return g_strdup(otherwise);
        return text[0] && text[0] != '-' && !text[strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "/._-+:@")]
                       ? g_strdup(text)
                       : g_shell_quote(text);
}

/* (nullable) */
static char *suggest_for_service(const GlCli *cli, GuestlockError code) {
        g_autofree char *guest = quoted(cli->guest, "GUEST");
        g_autofree char *path = quoted(cli->path, "PATH");

        switch (code) {
        case GUESTLOCK_ERROR_CONFLICT:
                return g_strdup_printf("Wait for it with --wait. Who has it now says: guestlockctl who %s", path);
        case GUESTLOCK_ERROR_TIMEOUT:
                return g_strdup_printf("Who has it now says: guestlockctl who %s", path);
        case GUESTLOCK_ERROR_NO_SUCH_GUEST:
        case GUESTLOCK_ERROR_UNKNOWN_OBJECT:
                return g_strdup("Which guests there are says: guestlockctl list");
        case GUESTLOCK_ERROR_NO_SUCH_RESOURCE:
        case GUESTLOCK_ERROR_ALREADY_REGISTERED:
        case GUESTLOCK_ERROR_BAD_STATE:
        case GUESTLOCK_ERROR_STALE:
                return g_strdup_printf("What the guest has says: guestlockctl status %s", guest);
        case GUESTLOCK_ERROR_ALREADY_EXISTS:
                return g_strdup_printf("See guestlockctl status %s; what is over ends with: guestlockctl stop %s",
                                       guest, guest);
        case GUESTLOCK_ERROR_LEASE_LOST:
                return g_strdup_printf("End the guest, to start it anew: guestlockctl stop --kill %s", guest);
        case GUESTLOCK_ERROR_GUEST_RUNNING:
                return g_strdup_printf("End the guest from within, or now: guestlockctl stop --kill %s", guest);
        case GUESTLOCK_ERROR_NO_SUCH_DRIVER:
                return g_strdup("Which drivers there are says: guestlockctl drivers");
        case GUESTLOCK_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED:
                return g_strdup(cli->no_ask_password ? "Leave --no-ask-password out, or do it as root."
                                                     : "Do it where somebody can be asked, or as root.");
        case GUESTLOCK_ERROR_LIMIT_EXCEEDED:
                return g_strdup("What there is says: guestlockctl list. The limits stand in guestlockd.conf(5).");
        case GUESTLOCK_ERROR_UNAVAILABLE:
                return g_strdup("What is wrong with the installation says: guestlockd --check; see guestlockd(8).");
        default:
                return NULL;
        }
}

/* (nullable) */
static char *suggest(const GlCli *cli, const GlCommand *command, const GError *error) {
        if (error->domain == GUESTLOCK_ERROR)
                return suggest_for_service(cli, (GuestlockError) error->code);
        if (error->domain == G_OPTION_ERROR)
                return g_strdup_printf("See: guestlockctl %s%s--help", command ? command->name : "",
                                       command ? " " : "");
        return NULL;
}

static const char *word_of(const GError *error) {
        g_autoptr(GEnumClass) class = g_type_class_ref(GUESTLOCK_TYPE_ERROR);
        const GEnumValue *value;

        if (error->domain == G_OPTION_ERROR)
                return "usage";
        value = error->domain == GUESTLOCK_ERROR ? g_enum_get_value(class, error->code) : NULL;
        return value ? value->value_nick : "failed";
}

static void complain_as_json(const GError *error, const char *suggestion) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        json_builder_set_member_name(json, "error");
        json_builder_begin_object(json);
        gl_json_add_text(json, "code", word_of(error));
        gl_json_add_text(json, "message", error->message);
        gl_json_add_text(json, "suggestion", suggestion);
        json_builder_end_object(json);
        gl_json_print(json);
}

GlExit gl_complain(const GlCli *cli, const GlCommand *command, const GError *error) {
        g_autofree char *suggestion = suggest(cli, command, error);

        if (cli->interrupted_by)
                return GL_EXIT_FAILED;
        gl_screen_complain(error->message);
        if (suggestion)
                gl_screen_suggest(suggestion);
        if (cli->json)
                complain_as_json(error, suggestion);
        return gl_exit_of(error);
}
