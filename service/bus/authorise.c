/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-private.h"

/*
 * Which questions a call raises, and asking them: each silently first, and what polkit answers with "only with a
 * password" then together in one dialog, if the caller allows one. What this connection was granted once is not asked
 * again.
 */

#define MAX_GRANTED 256

static void ask_next(GlCall *call);

/* --- which questions --- */

static void add_detail(GPtrArray *question, const char *key, const char *value) {
        if (!value)
                return;
        g_ptr_array_add(question, g_strdup(key));
        /* What came from a file system may be any bytes; D-Bus strings may not. */
        g_ptr_array_add(question, g_utf8_make_valid(value, -1));
}

static GPtrArray *new_question(GlCall *call, const char *action) {
        GPtrArray *question = g_ptr_array_new();
        g_autofree char *owner = g_strdup_printf("%" G_GUINT32_FORMAT, call->owner_uid);

        g_ptr_array_add(question, g_strdup(action));
        add_detail(question, "guest-uuid", call->uuid[0] ? call->uuid : NULL);
        add_detail(question, "guest-name", call->guest ? call->guest->name : call->arguments.name);
        add_detail(question, "owner-uid", owner);
        return question;
}

static void add_question(GlCall *call, GPtrArray *question) {
        g_ptr_array_add(question, NULL);
        g_ptr_array_add(call->questions, g_ptr_array_free(question, FALSE));
}

static void add_resource_details(GPtrArray *question, const GlWanted *wanted) {
        add_detail(question, "resource-type", gl_resource_type_to_string(wanted->type));
        add_detail(question, "resource", wanted->source->canonical);
        add_detail(question, "resource-given", wanted->name);
        add_detail(question, "mode", gl_mode_to_string(wanted->mode));
}

static void add_revoked_details(GPtrArray *question, const GlCall *call) {
        const GlArguments *arguments = &call->arguments;
        const GlResource *resource = arguments->all
                                             ? NULL
                                             : gl_guest_find_resource(call->guest, arguments->type, arguments->name);

        if (arguments->all)
                return;
        add_detail(question, "resource-type", gl_resource_type_to_string(arguments->type));
        if (resource && resource->source.box)
                add_detail(question, "resource", ((const GlSource *) resource->source.box)->canonical);
        add_detail(question, "resource-given", arguments->name);
        if (resource)
                add_detail(question, "mode", gl_mode_to_string(resource->mode));
}

/* By what is there now: StartGuest may be about to begin anew with a guest that was released. */
gboolean gl_call_is_restricted(const GlCall *call) {
        const GlGuest *guest;

        if (call->method->right != GL_RIGHT_CHANGE && call->method->right != GL_RIGHT_ACQUIRE)
                return FALSE;
        guest = gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid);
        return guest && guest->restricted;
}

static gboolean is_process(const GlProcessRef *bound, const GlCall *call) {
        const GlProcess *named = call->process;

        return bound->pid != 0 && bound->pid == call->caller->pid &&
               (!named || (named->pid == bound->pid && named->start_time == bound->start_time));
}

/*
 * The process that the leases were granted to comes for them: nothing is taken any more, so there is nothing to ask.
 * Who has waited for a password has become the supervisor meanwhile, with a connection that was granted nothing. It
 * lives, so the number is nobody else's.
 */
static gboolean is_holder_of_all(const GlCall *call) {
        const GlGuest *guest = gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid);

        if (call->method->run != gl_call_run_acquire || !guest || guest->state != GL_GUEST_HELD ||
            (!is_process(&guest->processes[GL_PROCESS_SUPERVISOR], call) &&
             !is_process(&guest->processes[GL_PROCESS_GUEST], call)))
                return FALSE;
        for (guint i = 0; i < guest->resources->len; i++)
                if (((const GlResource *) g_ptr_array_index(guest->resources, i))->state != GL_RESOURCE_HELD)
                        return FALSE;
        return TRUE;
}

static const char *action_for(const GlCall *call) {
        if (call->method->right == GL_RIGHT_REVOKE)
                return "revoke";
        if (gl_call_is_restricted(call))
                return "manage";
        if (gl_call_uid(call) == call->owner_uid && is_holder_of_all(call))
                return NULL;
        if (gl_call_uid(call) == call->owner_uid)
                return call->method->right == GL_RIGHT_ACQUIRE   ? "acquire"
                       : call->method->right == GL_RIGHT_INSPECT ? "inspect"
                                                                 : NULL;
        return call->arguments.kill ? "revoke" : "manage";
}

static void ask_about_driver(GlCall *call) {
        GPtrArray *question = g_ptr_array_new();

        g_ptr_array_add(question, g_strdup("load-driver"));
        add_detail(question, "driver", call->arguments.driver);
        add_question(call, question);
}

static void collect_questions(GlCall *call) {
        const char *action = call->method->right != GL_RIGHT_NOTHING ? action_for(call) : NULL;

        if (call->method->right == GL_RIGHT_LOAD_DRIVER) {
                ask_about_driver(call);
                return;
        }
        for (guint i = 0; action && i < call->wanted->len; i++) {
                GPtrArray *question = new_question(call, action);

                add_resource_details(question, &g_array_index(call->wanted, GlWanted, i));
                add_question(call, question);
        }
        if (action && call->wanted->len == 0) {
                GPtrArray *question = new_question(call, action);

                if (call->method->right == GL_RIGHT_REVOKE)
                        add_revoked_details(question, call);
                add_question(call, question);
        }
        /* Somebody else's process: its owner could be made to lose it through a lease that fails. */
        if (call->process && !gl_process_belongs_to(call->process, call->owner_uid) &&
            g_strcmp0(action, "manage") != 0)
                add_question(call, new_question(call, "manage"));
}

/* --- what was granted before --- */

/* Each part with its length: callers' texts must not make two questions look like one. */
static char *key_of(char **question) {
        GString *key = g_string_new(NULL);

        for (char **part = question; *part; part++)
                g_string_append_printf(key, "%zu:%s", strlen(*part), *part);
        return g_string_free(key, FALSE);
}

static gboolean granted_before(GlCall *call, char **question) {
        g_autofree char *key = key_of(question);

        return g_hash_table_contains(call->caller->granted, key);
}

static void granted(GlCall *call, char **question) {
        /* A connection that has asked for very much asks again: what is remembered of it stays small. */
        if (g_hash_table_size(call->caller->granted) >= MAX_GRANTED)
                g_hash_table_remove_all(call->caller->granted);
        call->may_manage |= g_str_equal(question[0], "manage") || g_str_equal(question[0], "revoke");
        g_hash_table_add(call->caller->granted, key_of(question));
}

/* --- asking --- */

static void refuse(GlCall *call, int code, const char *sentence, const char *action) {
        g_autoptr(GError) error = g_error_new(GL_ERROR, code, "%s (org.guestlock1.%s).", sentence, action);

        gl_call_fail(call, error);
}

static GlQuery *ask(GlCall *call, char **question, gboolean interactive, GlAnswered answered) {
        GlAuthority *authority = call->bus->parts.authority;
        GlQuestion asked = {question[0], (const char *const *) question + 1};

        return authority->ops->ask(authority, call->caller->sender, gl_call_uid(call), &asked, interactive, answered,
                                   call);
}

static void dialog_answered(GlAnswer answer, const GError *error, gpointer user_data) {
        GlCall *call = user_data;

        call->query = NULL;
        if (answer != GL_ANSWER_YES) {
                if (error)
                        gl_call_fail(call, error);
                else
                        refuse(call, GL_ERROR_ACCESS_DENIED, "The authorisation was refused",
                               ((char **) call->challenged->pdata[0])[0]);
                return;
        }
        for (guint i = 0; i < call->challenged->len; i++)
                granted(call, g_ptr_array_index(call->challenged, i));
        gl_call_authorised(call);
}

/*
 * The one dialog for all that needs one: what the first of them says, so that a rule about one resource has one to look
 * at (and one that it did not say yes to), under the strongest action, and all the resources under a key of their own.
 */
static char **join_challenged(GlCall *call) {
        GPtrArray *question = g_ptr_array_new();
        GString *resources = g_string_new(NULL);
        const char *action = ((char **) call->challenged->pdata[0])[0];

        for (guint i = 0; i < call->challenged->len; i++) {
                char **one = g_ptr_array_index(call->challenged, i);

                if (g_str_equal(one[0], "manage"))
                        action = one[0];
                for (char **pair = one + 1; pair[0]; pair += 2)
                        if (g_str_equal(pair[0], "resource"))
                                g_string_append_printf(resources, "%s%s", resources->len > 0 ? ", " : "", pair[1]);
        }
        g_ptr_array_add(question, g_strdup(action));
        for (char **detail = (char **) call->challenged->pdata[0] + 1; *detail; detail++)
                g_ptr_array_add(question, g_strdup(*detail));
        if (resources->len > 0)
                add_detail(question, "resources", resources->str);
        g_string_free(resources, TRUE);
        g_ptr_array_add(question, NULL);
        return (char **) g_ptr_array_free(question, FALSE);
}

static void ask_challenged(GlCall *call) {
        g_auto(GStrv) joined = NULL;
        char **question = g_ptr_array_index(call->challenged, 0);

        if (!sd_bus_message_get_allow_interactive_authorization(call->message)) {
                refuse(call, GL_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                       "This needs an authorisation by password, and the call does not allow for a dialog",
                       question[0]);
                return;
        }
        if (call->challenged->len > 1)
                question = joined = join_challenged(call);
        call->query = ask(call, question, TRUE, dialog_answered);
}

static void answered_silently(GlAnswer answer, const GError *error, gpointer user_data) {
        GlCall *call = user_data;
        char **question = g_ptr_array_index(call->questions, call->question);

        call->query = NULL;
        switch (answer) {
        case GL_ANSWER_NO:
                if (error)
                        gl_call_fail(call, error);
                else
                        refuse(call, GL_ERROR_ACCESS_DENIED, "You are not allowed to do this", question[0]);
                return;
        case GL_ANSWER_CHALLENGE:
                g_ptr_array_add(call->challenged, question);
                break;
        case GL_ANSWER_YES:
                granted(call, question);
                break;
        }
        call->question++;
        ask_next(call);
}

static void ask_next(GlCall *call) {
        for (; call->question < call->questions->len; call->question++) {
                char **question = g_ptr_array_index(call->questions, call->question);

                if (granted_before(call, question)) {
                        granted(call, question);
                        continue;
                }
                call->query = ask(call, question, FALSE, answered_silently);
                return;
        }
        if (call->challenged->len > 0)
                ask_challenged(call);
        else
                gl_call_authorised(call);
}

void gl_call_authorise(GlCall *call) {
        collect_questions(call);
        ask_next(call);
}
