/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/table.h"

/* The lock table: the matrix of the contract cell by cell, and a brute-force model of it with random places. */

#define WHOLE ((GlExtent){0, GL_EXTENT_END})
#define R GL_MODE_READONLY
#define W GL_MODE_SHARED
#define X GL_MODE_EXCLUSIVE

static GlNode file_node(guint64 inode) {
        return (GlNode){.kind = GL_NODE_FILE, .device = 1, .inode = inode};
}

static GlNode block_node(guint64 device) {
        return (GlNode){.kind = GL_NODE_BLOCK, .device = device};
}

static GlPlace *place_of(GlNode node, GlExtent extent) {
        return gl_place_new(&node, extent, NULL, 0);
}

static GlPlace *place_on(GlNode node, GlNode below, GlExtent extent, guint64 allocator) {
        GlAncestor ancestor = {below, extent, allocator};

        return gl_place_new(&node, WHOLE, &ancestor, 1);
}

static gboolean meet(GlPlace *held, GlMode held_mode, GlPlace *asked, GlMode asked_mode) {
        g_autoptr(GlTable) table = gl_table_new();
        GlClaim *claim = gl_table_enter(table, held, held_mode, NULL);
        gboolean conflict = gl_table_conflicts(table, asked, asked_mode, NULL, NULL);

        gl_table_drop(table, claim);
        return conflict;
}

static void test_matrix(void) {
        /* IR IW IX R W X, row asked, column held; e: as their own modes. */
        static const char *const matrix[] = {"eee+--", "eee-+-", "eee---", "+--+--", "-+--+-", "------"};
        GlNode disk = block_node(8);

        for (guint asked = 0; asked < 6; asked++) {
                for (guint held = 0; held < 6; held++) {
                        g_autoptr(GlPlace) a = asked < 3 ? place_on(file_node(1), disk, WHOLE, 0)
                                                         : place_of(disk, WHOLE);
                        g_autoptr(GlPlace) h = held < 3 ? place_on(file_node(2), disk, WHOLE, 0)
                                                        : place_of(disk, WHOLE);
                        char cell = matrix[asked][held];

                        if (cell == 'e')
                                cell = asked % 3 == held % 3 && asked % 3 != X ? '+' : '-';
                        g_test_message("asked %u, held %u", asked, held);
                        g_assert_cmpint(meet(h, held % 3, a, asked % 3), ==, cell == '-');
                }
        }
}

/* Column M: what the host has mounted, on the device itself, on a volume on it, and a part of it. */
static void test_matrix_of_the_host(void) {
        GlNode disk = block_node(8), volume = block_node(253);
        GlExtent low = {0, 100}, high = {100, 200};
        GlAncestor below = {disk, low, 7};
        g_autoptr(GlPlace) whole = place_of(disk, WHOLE), first = place_of(disk, low), second = place_of(disk, high);
        g_autoptr(GlPlace) file = place_on(file_node(1), disk, WHOLE, 5);
        g_autoptr(GlPlace) on_disk = gl_place_new(&volume, WHOLE, &below, 1);
        g_autoptr(GlPlace) sibling = place_on(block_node(254), disk, high, 0);

        /* R, W and X: the same cell. */
        g_assert_true(gl_place_is_used(whole, whole));
        g_assert_true(gl_place_is_used(whole, first));
        g_assert_true(gl_place_is_used(first, whole));
        g_assert_false(gl_place_is_used(first, second));
        g_assert_true(gl_place_is_used(on_disk, on_disk));
        g_assert_true(gl_place_is_used(whole, on_disk)); /* in use below something of the host's */
        g_assert_true(gl_place_is_used(first, on_disk));
        g_assert_false(gl_place_is_used(second, on_disk));
        /* The intentions. */
        g_assert_false(gl_place_is_used(file, whole));
        g_assert_false(gl_place_is_used(on_disk, whole));
        g_assert_false(gl_place_is_used(sibling, on_disk));
}

static void test_places_compared(void) {
        GlAncestor below[] = {{block_node(8), {0, 100}, 7}, {block_node(9), WHOLE, 0}};
        GlNode node = block_node(253);
        g_autoptr(GlPlace) one = gl_place_new_via(&node, WHOLE, below, 2, "a way"), same = gl_place_new(&node, WHOLE, below, 2);
        g_autoptr(GlPlace) less = gl_place_new(&node, WHOLE, below, 1), part = place_of(node, (GlExtent){0, 5});
        GlNode key = gl_place_key(one), part_key = gl_place_key(part);

        g_assert_true(gl_place_same(one, same));
        g_assert_true(gl_place_equal(one, less));
        g_assert_false(gl_place_same(one, less));
        for (guint i = 0; i < 3; i++) {
                GlAncestor other[] = {below[0], below[1]};
                g_autoptr(GlPlace) place = NULL;

                other[1].allocator = i == 0;
                other[0].extent.end += i == 1;
                other[0].node.inode += i == 2;
                place = gl_place_new(&node, WHOLE, other, 2);
                g_assert_false(gl_place_same(one, place));
        }
        g_assert_true(gl_node_equal(&key, &node));
        g_assert_false(gl_node_equal(&part_key, &node));
}

static void test_siblings(void) {
        GlNode disk = block_node(8);
        g_autoptr(GlPlace) first = place_on(file_node(1), disk, WHOLE, 5);
        g_autoptr(GlPlace) brother = place_on(file_node(2), disk, WHOLE, 5);
        g_autoptr(GlPlace) stranger = place_on(file_node(3), disk, WHOLE, 6);
        g_autoptr(GlPlace) unknown = place_on(file_node(4), disk, WHOLE, 0);
        g_autoptr(GlPlace) low = place_on(block_node(1), disk, (GlExtent){0, 100}, 0);
        g_autoptr(GlPlace) high = place_on(block_node(2), disk, (GlExtent){100, 200}, 0);
        g_autoptr(GlPlace) across = place_on(block_node(3), disk, (GlExtent){99, 101}, 0);

        g_assert_false(meet(first, X, brother, X)); /* one allocator handed both out */
        g_assert_true(meet(first, X, stranger, X));
        g_assert_true(meet(first, X, unknown, R));
        g_assert_false(meet(first, R, unknown, R));
        g_assert_false(meet(low, X, high, X)); /* disjoint */
        g_assert_true(meet(low, X, across, X));
        g_assert_true(meet(across, X, high, X));
        g_assert_false(meet(low, W, across, W));
        g_assert_true(meet(low, W, across, R));
}

static void test_extents_of_one_node(void) {
        GlNode disk = block_node(8);
        g_autoptr(GlPlace) first = place_of(disk, (GlExtent){0, 10});
        g_autoptr(GlPlace) second = place_of(disk, (GlExtent){10, 20});
        g_autoptr(GlPlace) whole = place_of(disk, WHOLE);
        g_autoptr(GlPlace) on_second = place_on(file_node(1), disk, (GlExtent){10, 20}, 7);
        g_autoptr(GlPlace) last = place_of(disk, (GlExtent){GL_EXTENT_END - 1, GL_EXTENT_END});

        g_assert_false(meet(first, X, second, X));
        g_assert_true(meet(first, X, whole, R));
        g_assert_false(meet(first, X, on_second, X));
        g_assert_true(meet(second, R, on_second, X));
        g_assert_true(meet(last, X, whole, R));
}

static void test_nodes_are_told_apart(void) {
        GlNode node = file_node(1), reused = node, elsewhere = node;
        g_autoptr(GlPlace) one = place_of(node, WHOLE);
        g_autoptr(GlPlace) two = NULL, three = NULL, four = NULL;

        reused.inode_generation = 1;
        elsewhere.device = 2;
        two = place_of(reused, WHOLE);
        three = place_of(elsewhere, WHOLE);
        four = place_of((GlNode){.kind = GL_NODE_BLOCK, .device = 1, .inode = 1}, WHOLE);
        g_assert_true(meet(one, X, one, X));
        g_assert_false(meet(one, X, two, X));
        g_assert_false(meet(one, X, three, X));
        g_assert_false(meet(one, X, four, X));
}

static void test_found_once_and_all(void) {
        g_autoptr(GlTable) table = gl_table_new();
        g_autoptr(GPtrArray) found = g_ptr_array_new();
        GlNode disk = block_node(8), other = block_node(9);
        GlAncestor twice[] = {{disk, {0, 10}, 0}, {disk, {20, 30}, 0}, {other, WHOLE, 0}};
        GlNode striped = block_node(253);
        g_autoptr(GlPlace) volume = gl_place_new(&striped, WHOLE, twice, G_N_ELEMENTS(twice));
        g_autoptr(GlPlace) whole = place_of(disk, WHOLE), gap = place_of(disk, (GlExtent){10, 20});
        GlClaim *first = gl_table_enter(table, volume, R, NULL), *second = gl_table_enter(table, whole, R, NULL);

        g_assert_true(gl_table_conflicts(table, volume, X, NULL, found));
        g_assert_cmpuint(found->len, ==, 2); /* although the first is met on three rows */
        g_assert_true(g_ptr_array_find(found, first, NULL) && g_ptr_array_find(found, second, NULL));
        g_assert_true(gl_table_conflicts(table, volume, X, first, NULL));
        g_assert_false(gl_table_conflicts(table, volume, R, NULL, NULL));

        gl_table_drop(table, second);
        g_assert_false(gl_table_conflicts(table, volume, X, first, NULL));
        g_assert_false(gl_table_conflicts(table, gap, X, NULL, NULL));
        gl_table_set_mode(table, first, X);
        g_assert_true(gl_table_conflicts(table, whole, R, NULL, NULL));
        g_assert_cmpuint(gl_table_size(table), ==, 1);
        gl_table_drop(table, first);
        gl_table_drop(table, NULL);
        g_assert_cmpuint(gl_table_size(table), ==, 0);
        g_assert_false(gl_table_conflicts(table, whole, X, NULL, NULL));
}

/* --- against a model --- */

typedef struct {
        const GlPlace *place;
        guint nth; /* 0: the node itself; else the ancestor before */
} Touch;

static const GlNode *node_of(Touch touch) {
        return touch.nth == 0 ? &touch.place->node : &touch.place->ancestors[touch.nth - 1].node;
}

static GlExtent extent_of(Touch touch) {
        return touch.nth == 0 ? touch.place->extent : touch.place->ancestors[touch.nth - 1].extent;
}

static guint64 allocator_of(Touch touch) {
        return touch.nth == 0 ? 0 : touch.place->ancestors[touch.nth - 1].allocator;
}

static gboolean touches_conflict(Touch a, GlMode a_mode, Touch b, GlMode b_mode) {
        GlExtent left = extent_of(a), right = extent_of(b);

        if (gl_node_compare(node_of(a), node_of(b)) != 0 || MAX(left.start, right.start) >= MIN(left.end, right.end))
                return FALSE;
        if (allocator_of(a) != 0 && allocator_of(a) == allocator_of(b))
                return FALSE;
        return !((a_mode == R && b_mode == R) || (a_mode == W && b_mode == W));
}

static gboolean model_conflict(const GlPlace *a, GlMode a_mode, const GlPlace *b, GlMode b_mode) {
        for (guint i = 0; i <= a->n_ancestors; i++)
                for (guint j = 0; j <= b->n_ancestors; j++)
                        if (touches_conflict((Touch){a, i}, a_mode, (Touch){b, j}, b_mode))
                                return TRUE;
        return FALSE;
}

/* What the host uses at USED, in terms of the model: it takes part with its own extent and those below. */
static gboolean model_used(const GlPlace *asked, const GlPlace *used) {
        for (guint j = 0; j <= used->n_ancestors; j++) {
                Touch own = {asked, 0}, theirs = {used, j};
                GlExtent left = extent_of(own), right = extent_of(theirs);

                if (gl_node_compare(node_of(own), node_of(theirs)) == 0 &&
                    MAX(left.start, right.start) < MIN(left.end, right.end))
                        return TRUE;
        }
        return FALSE;
}

static GlExtent random_extent(GRand *rand) {
        guint64 start = (guint64) g_rand_int_range(rand, 0, 6);

        if (g_rand_boolean(rand))
                return WHOLE;
        if (g_rand_int_range(rand, 0, 4) == 0)
                return (GlExtent){start, GL_EXTENT_END};
        return (GlExtent){start, start + (guint64) g_rand_int_range(rand, 1, 4)};
}

static GlPlace *random_place(GRand *rand) {
        gboolean plain = g_rand_int_range(rand, 0, 3) > 0;
        GlNode node = plain ? file_node((guint64) g_rand_int_range(rand, 1, 20))
                            : block_node((guint64) g_rand_int_range(rand, 1, 5));
        GlAncestor ancestors[3];
        guint n = (guint) g_rand_int_range(rand, 0, 4);

        /* Mostly the common case: files of one file system. */
        if (plain && g_rand_boolean(rand))
                return place_on(node, block_node(1), WHOLE, 1);
        for (guint i = 0; i < n; i++)
                ancestors[i] = (GlAncestor){
                        block_node((guint64) g_rand_int_range(rand, 1, 5)),
                        random_extent(rand),
                        (guint64) g_rand_int_range(rand, 0, 3),
                };
        return gl_place_new(&node, random_extent(rand), ancestors, n);
}

/* Asks the table and the model for one place, and compares everything that they say. */
static gboolean ask_both(GlTable *table, GPtrArray *claims, const GlPlace *place, GlMode mode, const GlClaim *except) {
        g_autoptr(GPtrArray) found = g_ptr_array_new();
        gboolean conflict = gl_table_conflicts(table, place, mode, except, found);
        guint expected = 0;

        for (guint i = 0; i < claims->len; i++) {
                GlClaim *claim = g_ptr_array_index(claims, i);
                gboolean in_the_way = claim != except && model_conflict(place, mode, claim->place, claim->mode);

                expected += in_the_way;
                g_assert_cmpint(g_ptr_array_find(found, claim, NULL), ==, in_the_way);
        }
        g_assert_cmpuint(found->len, ==, expected);
        g_assert_cmpint(conflict, ==, expected > 0);
        g_assert_cmpint(gl_table_conflicts(table, place, mode, except, NULL), ==, conflict);
        return conflict;
}

static void step(GRand *rand, GlTable *table, GPtrArray *claims) {
        g_autoptr(GlPlace) place = random_place(rand);
        GlMode mode = (GlMode) g_rand_int_range(rand, 0, 3);
        guint nth = claims->len > 0 ? (guint) g_rand_int_range(rand, 0, (gint32) claims->len) : 0;
        GlClaim *claim = claims->len > 0 ? g_ptr_array_index(claims, nth) : NULL;

        switch (g_rand_int_range(rand, 0, 8)) {
        case 0 ... 3: /* as the core does it */
                if (!ask_both(table, claims, place, mode, NULL))
                        g_ptr_array_add(claims, gl_table_enter(table, place, mode, NULL));
                break;
        case 4: /* as adoption does it */
                if (claims->len < 60)
                        g_ptr_array_add(claims, gl_table_enter(table, place, mode, NULL));
                break;
        case 5:
                if (claim && !ask_both(table, claims, claim->place, mode, claim))
                        gl_table_set_mode(table, claim, mode);
                break;
        default:
                if (claim)
                        gl_table_drop(table, g_ptr_array_steal_index_fast(claims, nth));
        }
        g_assert_cmpuint(gl_table_size(table), ==, claims->len);
}

static void test_model(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20261122);
        g_autoptr(GlTable) table = gl_table_new();
        g_autoptr(GPtrArray) claims = g_ptr_array_new();
        guint most = 0;

        for (guint i = 0; i < 20000; i++) {
                step(rand, table, claims);
                most = MAX(most, claims->len);
        }
        g_assert_cmpuint(most, >, 10); /* it has been about something */
        while (claims->len > 0)
                gl_table_drop(table, g_ptr_array_steal_index_fast(claims, 0));
        g_assert_cmpuint(gl_table_size(table), ==, 0);
}

static void test_model_of_the_host(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20261123);
        guint n_used = 0;

        for (guint i = 0; i < 20000; i++) {
                g_autoptr(GlPlace) asked = random_place(rand), used = random_place(rand);

                g_assert_cmpint(gl_place_is_used(asked, used), ==, model_used(asked, used));
                n_used += gl_place_is_used(asked, used);
        }
        g_assert_cmpuint(n_used, >, 500);
}

/* Of a processor, in µs: what else the machine has to do is not in it. */
static gint64 time_spent(void) {
        struct timespec spent;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
        return spent.tv_sec * G_USEC_PER_SEC + spent.tv_nsec / 1000;
}

/* Thousands of files of one file system must not be looked at one by one. */
static void test_many_siblings_are_cheap(void) {
        g_autoptr(GlTable) table = gl_table_new();
        g_autoptr(GPtrArray) claims = g_ptr_array_new();
        GlNode disk = block_node(8);
        gint64 begun = time_spent();

        for (guint i = 0; i < 20000; i++) {
                g_autoptr(GlPlace) place = place_on(file_node(i), disk, WHOLE, 1);

                g_assert_false(gl_table_conflicts(table, place, X, NULL, NULL));
                g_ptr_array_add(claims, gl_table_enter(table, place, X, NULL));
        }
        while (claims->len > 0)
                gl_table_drop(table, g_ptr_array_steal_index_fast(claims, 0));
        /* Quadratic would be minutes under valgrind, and seconds without. */
        g_assert_cmpint(time_spent() - begun, <, 20 * G_USEC_PER_SEC);
}

static void test_node_text(void) {
        GlNode nodes[] = {file_node(G_MAXUINT64), block_node(0x800001), {.inode_generation = G_MAXUINT32},
                          {.kind = GL_NODE_DISK, .device = G_MAXUINT64, .inode = G_MAXUINT64}};
        const char *const wrong[] = {"", "f", "x1-2-3", "f1-2", "f1-2-3-4", "f1-2-100000000", "f-1-2-3", "f1- 2-3"};
        GlNode back = {.inode = 77};

        for (guint i = 0; i < G_N_ELEMENTS(nodes); i++) {
                g_autofree char *text = gl_node_to_string(&nodes[i]);

                g_assert_true(gl_node_from_string(text, &back));
                g_assert_true(gl_node_equal(&nodes[i], &back));
                g_assert_cmpuint(gl_node_hash(&nodes[i]), ==, gl_node_hash(&back));
        }
        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
                g_assert_false(gl_node_from_string(wrong[i], &back));
        g_assert_true(gl_node_equal(&back, &nodes[G_N_ELEMENTS(nodes) - 1])); /* untouched */
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/table/matrix", test_matrix);
        g_test_add_func("/table/matrix-of-the-host", test_matrix_of_the_host);
        g_test_add_func("/table/places-compared", test_places_compared);
        g_test_add_func("/table/siblings", test_siblings);
        g_test_add_func("/table/extents-of-one-node", test_extents_of_one_node);
        g_test_add_func("/table/nodes-are-told-apart", test_nodes_are_told_apart);
        g_test_add_func("/table/found-once-and-all", test_found_once_and_all);
        g_test_add_func("/table/model", test_model);
        g_test_add_func("/table/model-of-the-host", test_model_of_the_host);
        g_test_add_func("/table/many-siblings-are-cheap", test_many_siblings_are_cheap);
        g_test_add_func("/table/node-text", test_node_text);
        return g_test_run();
}
