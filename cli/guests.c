/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"

#include <unistd.h>

#include "screen.h"

/* The guest itself is taken from the list, so that one of another user's is found by its uuid as well. */
static gboolean is_called(GuestlockGuest *guest, const char *word, gboolean by_uuid) {
        return by_uuid ? g_ascii_strcasecmp(guestlock_guest_get_uuid(guest), word) == 0
                       : g_str_equal(guestlock_guest_get_name(guest), word);
}

static GPtrArray *find_all(GPtrArray *guests, const char *word, gboolean own) {
        gboolean by_uuid = g_uuid_string_is_valid(word);
        GPtrArray *found = g_ptr_array_new();

        for (guint i = 0; i < guests->len; i++)
                if (is_called(guests->pdata[i], word, by_uuid) &&
                    (!own || guestlock_guest_get_owner_uid(guests->pdata[i]) == geteuid()))
                        g_ptr_array_add(found, guests->pdata[i]);
        return found;
}

/* All of them, for a sentence. */
static char *names_of(GPtrArray *guests) {
        GString *text = g_string_new(NULL);

        for (guint i = 0; i < guests->len; i++)
                g_string_append_printf(text, "%s%s (uid %u)", i ? ", " : "", guestlock_guest_get_uuid(guests->pdata[i]),
                                       guestlock_guest_get_owner_uid(guests->pdata[i]));
        return g_string_free(text, FALSE);
}

static GuestlockGuest *choose(GPtrArray *guests, const char *word, GError **error) {
        g_autoptr(GPtrArray) own = find_all(guests, word, TRUE);
        g_autoptr(GPtrArray) all = find_all(guests, word, FALSE);
        GPtrArray *found = own->len ? own : all;
        g_autofree char *names = NULL;

        if (found->len == 1)
                return g_object_ref(found->pdata[0]);
        if (!found->len) {
                g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_NO_SUCH_GUEST, "There is no guest \"%s\".", word);
                return NULL;
        }
        names = names_of(found);
        g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS, "\"%s\" may be any of these guests: %s.",
                    word, names);
        return NULL;
}

static gboolean is_pid(const char *word, guint64 *pid) {
        return g_ascii_string_to_unsigned(word, 10, 1, G_MAXUINT, pid, NULL);
}

gboolean gl_is_name(const char *word) {
        guint64 pid;

        return !is_pid(word, &pid) && !g_uuid_string_is_valid(word);
}

/* A guest may be called what is the pid of another: then it is not for us to say which one is meant. */
static gboolean is_pid_of_another(GuestlockManager *manager, guint pid, GPtrArray *called, const char *word,
                                  GError **error) {
        g_autoptr(GuestlockGuest) other = guestlock_manager_get_guest_by_pid_sync(manager, pid, NULL, NULL);

        if (!other || g_ptr_array_find(called, other, NULL))
                return FALSE;
        g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS,
                    "\"%s\" is the name of a guest, and the pid of guest \"%s\" (%s). Say which by its uuid.", word,
                    guestlock_guest_get_name(other), guestlock_guest_get_uuid(other));
        return TRUE;
}

GuestlockGuest *gl_find_guest(GlCli *cli, GuestlockManager *manager, const char *word, GError **error) {
        g_autoptr(GPtrArray) guests = guestlock_manager_list_guests_sync(manager, NULL, error);
        g_autoptr(GPtrArray) called = guests ? find_all(guests, word, FALSE) : NULL;
        guint64 pid;

        g_free(cli->guest);
        cli->guest = g_strdup(word);
        if (!guests)
                return NULL;
        if (!is_pid(word, &pid))
                return choose(guests, word, error);
        if (!called->len)
                return guestlock_manager_get_guest_by_pid_sync(manager, (guint) pid, NULL, error);
        return is_pid_of_another(manager, (guint) pid, called, word, error) ? NULL : choose(guests, word, error);
}

char *gl_text_of_guest(GuestlockGuest *guest) {
        g_autofree char *name = gl_screen_printable(guestlock_guest_get_name(guest));

        return g_strdup_printf("\"%s\" (%s)", name, guestlock_guest_get_uuid(guest));
}

int gl_compare_guests(gconstpointer a, gconstpointer b) {
        GuestlockGuest *one = *(GuestlockGuest *const *) a, *other = *(GuestlockGuest *const *) b;
        guint uid = guestlock_guest_get_owner_uid(one), other_uid = guestlock_guest_get_owner_uid(other);

        return g_strcmp0(guestlock_guest_get_name(one), guestlock_guest_get_name(other))
                       ?: g_strcmp0(guestlock_guest_get_uuid(one), guestlock_guest_get_uuid(other))
                                  ?: (uid > other_uid) - (uid < other_uid);
}
