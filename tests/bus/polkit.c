/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house-private.h"

/* polkit, as the test plays it. No answer is heard before the question was put, as the interface has it. */

struct GlQuery {
        House *house;
        char *line;    /* "<connection> <action>" */
        GlAnswered answered;
        gpointer user_data;
        GlAnswer answer;
        GError *error; /* (owned) (nullable) */
        sd_event_source *deliver; /* (owned) (nullable) */
};

typedef struct {
        GlAuthority authority;
        House *house;
} ScriptedPolkit;

static void query_free(GlQuery *query) {
        sd_event_source_disable_unref(query->deliver);
        g_clear_error(&query->error);
        g_free(query->line);
        g_free(query);
}

static int deliver(sd_event_source *source, void *user_data) {
        GlQuery *query = user_data;

        query->answered(query->answer, query->error, query->user_data);
        query_free(query);
        return 0;
}

static void decide(GlQuery *query, GlAnswer answer) {
        query->answer = answer;
        fixture_must(sd_event_add_defer(query->house->event, &query->deliver, deliver, query));
}

static GlQuery *ask(GlAuthority *authority, const char *sender, guint32 uid, const GlQuestion *question,
                    gboolean interactive, GlAnswered answered, gpointer user_data) {
        static const GlAnswer answers[] = {GL_ANSWER_YES, GL_ANSWER_NO, GL_ANSWER_CHALLENGE};
        House *house = ((ScriptedPolkit *) authority)->house;
        const Say *says = g_hash_table_lookup(house->says, question->action);
        GlQuery *query = g_new0(GlQuery, 1);
        Say say = (says ?: (const Say *) g_hash_table_lookup(house->says, ""))[interactive];

        g_assert_cmpuint(uid, ==, house->direct ? uid : house_uid_of(sender));
        *query = (GlQuery){.house = house, .answered = answered, .user_data = user_data};
        query->line = g_strdup_printf("%s %s", sender, question->action);
        g_string_append_printf(house->questions, "%s%s:", query->line, interactive ? " in a dialog" : "");
        for (const char *const *detail = question->details; detail[0]; detail += 2) {
                g_string_append_printf(house->questions, "%s%s=", detail == question->details ? " " : ", ", detail[0]);
                house_append_string(house, house->questions, detail[1]);
        }
        g_string_append_c(house->questions, '\n');
        if (say == SAY_NOTHING)
                g_ptr_array_add(house->open, query);
        else
                decide(query, answers[say]);
        return query;
}

static void cancel(GlAuthority *authority, GlQuery *query) {
        House *house = query->house;

        g_string_append_printf(house->questions, "%s dropped\n", query->line);
        g_ptr_array_remove(house->open, query);
        query_free(query);
}

static const GlAuthorityOps scripted = {.ask = ask, .cancel = cancel, .free = (void (*)(GlAuthority *)) g_free};

GlAuthority *house_polkit_new(House *house) {
        ScriptedPolkit *polkit = g_new0(ScriptedPolkit, 1);

        polkit->authority.ops = &scripted;
        polkit->house = house;
        return &polkit->authority;
}

void house_say(House *house, const char *action, Say silently, Say in_dialog) {
        const Say says[] = {silently, in_dialog};

        g_hash_table_replace(house->says, g_strdup(action ?: ""), g_memdup2(says, sizeof says));
}

void expect_questions(House *house, const char *expected) {
        g_assert_cmpstr(house->questions->str, ==, expected);
        g_string_truncate(house->questions, 0);
}

void forget_questions(House *house) {
        g_string_truncate(house->questions, 0);
}

guint n_open_questions(House *house) {
        return house->open->len;
}

void await_questions(House *house, guint n) {
        fixture_run_until(house->event, house->open->len >= n);
        g_assert_cmpuint(house->open->len, ==, n);
}

void answer_question(House *house, guint n, GlAnswer answer, GError *error) {
        GlQuery *query = g_ptr_array_steal_index(house->open, n);

        query->error = error;
        decide(query, answer);
}
