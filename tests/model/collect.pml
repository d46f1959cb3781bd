/*
 * Collecting beside writers, as in common/repository/collect*.c, lease.c and writer.c; in words:
 * docs/format.md, "Collecting". SPIN looks at every order of steps, with crashes between any two.
 *
 * The store is shared state: each put, get and remove is one step. So is a list, or, with SLOW_LISTS,
 * two: then it has what was there all the time between them, and some of what came or went meanwhile.
 * Chunks do not depend on each other, so there is one chunk here that all snapshots need. It can
 * lie in any pack: the one from before (OLD), one of each writer, one that each collector writes
 * anew. Other chunks of a pack are the reason why a collector may want to remove a pack that is
 * needed.
 *
 * run.sh gives the number of WRITERS and COLLECTORS (at most four together), and the seeded
 * mistakes: the other names that are asked for with #ifdef.
 */
#define BIT(n) (1 << (n))
#define OLD (WRITERS + COLLECTORS) /* the pack from before; a writer's, a collector's: by number */
#define OLD_INDEX (WRITERS + 2 * COLLECTORS)
#define ANEW_INDEX(c) (WRITERS + 2 * (c))    /* of the pack that it wrote anew */
#define NEW_INDEX(c) (WRITERS + 2 * (c) + 1) /* instead of all that it read */
#define LEASE(c) (WRITERS + (c)) /* a collector's, and its pack; a writer's: its number */
#define OLD_SNAPSHOT (WRITERS + COLLECTORS)

/* ---- the store: sets of objects, a bit each ---- */
byte packs = BIT(OLD);
byte indexes = BIT(OLD_INDEX);
byte snapshots = BIT(OLD_SNAPSHOT); /* a writer's has the writer's number */
byte leases;
byte revocations;
byte settled; /* by lease */
byte counted; /* snapshots that settlements name */
byte guards;  /* marks without packs, by collector: one is at work */
byte marks;   /* marks with packs, by collector */
byte named[8]; /* packs that an index object names */
byte marked[3]; /* packs that a mark names */

byte vouched = BIT(OLD); /* packs that vouchers of writers name; at worst nobody removes one */

/* ---- what only the observer knows ---- */
byte acknowledged = BIT(OLD_SNAPSHOT);
byte in_flight; /* puts of snapshots of which nobody knows whether they will happen */
byte gone;      /* processes that crashed and of which others can see it, by lease */
byte crashed;   /* by lease */
byte removing;  /* collectors between their first remove and their last */
#ifdef NO_CRASH
bool writer_may_crash, collector_may_crash;
#else
bool writer_may_crash = true, collector_may_crash = true; /* the first of each */
#endif

#define VOID_ONES (settled & ~counted)
#define WHAT_NAME(set)                                                                            \
    ((((set) & 1) -> named[0] : 0) | (((set) & 2) -> named[1] : 0) |                              \
     (((set) & 4) -> named[2] : 0) | (((set) & 8) -> named[3] : 0) |                              \
     (((set) & 16) -> named[4] : 0) | (((set) & 32) -> named[5] : 0) |                            \
     (((set) & 64) -> named[6] : 0) | (((set) & 128) -> named[7] : 0))
#define WHAT_IS_MARKED                                                                            \
    (((marks & 1) -> marked[0] : 0) | ((marks & 2) -> marked[1] : 0) |                            \
     ((marks & 4) -> marked[2] : 0))
#define FIRST_OF(set) ((set) & -(set))

/* Index objects that collectors put of packs that stay; their vouchers go before them. */
#define COLLECTED (BIT(WRITERS + 1) | BIT(WRITERS + 3) | BIT(WRITERS + 5))

/*
 * All that this protocol is for; and what an index object promises, so that who verifies can tell
 * a pack that was lost from one of which an index object came late. LOSS_ALONE leaves the latter out:
 * a seeded mistake is to be found by what it loses.
 */
#ifdef LOSS_ALONE
#define CHECK_PROMISES
#else
#define CHECK_PROMISES                                                                            \
    assert((WHAT_NAME(indexes) & ~packs) == 0 || revocations != 0);                               \
    assert((WHAT_NAME(indexes) & vouched & ~packs) == 0);                                         \
    assert((WHAT_NAME(indexes & COLLECTED) & ~packs) == 0);
#endif
#define CHECK                                                                                     \
    CHECK_PROMISES                                                                                \
    assert(packs != 0 || (snapshots & acknowledged) == 0);                                        \
    assert(packs != 0 || (snapshots & ~VOID_ONES) == 0);                                          \
    assert((removing & (removing - 1)) == 0)

/* One step of a process: it is done, or the process crashes before it. */
#define STEP(may_crash, what)                                                                     \
    if                                                                                            \
    :: d_step { what }                                                                            \
    :: may_crash && self == 0 -> goto dead                                                                   \
    fi
#define W_STEP(what) STEP(writer_may_crash, what)
#define C_STEP(what) STEP(collector_may_crash, what)

/* `then` uses `list`, and forgets it. */
#ifdef SLOW_LISTS
#define LIST(may_crash, folder, then)                                                             \
    STEP(may_crash, began = folder;);                                                             \
    atomic {                                                                                      \
        if                                                                                        \
        :: list = began & folder                                                                  \
        :: (began ^ folder) != 0 -> list = began | folder                                         \
        :: (began ^ folder) != 0 -> list = (began & folder) | FIRST_OF(began ^ folder)            \
        :: (began ^ folder) != 0 -> list = (began | folder) & ~FIRST_OF(began ^ folder)           \
        fi;                                                                                       \
        began = 0;                                                                                \
        then                                                                                      \
    }
#else
#define LIST(may_crash, folder, then) STEP(may_crash, list = folder; then)
#endif
/* Who sees that it was revoked gives up. */
#define UNLESS_REVOKED(may_crash, lease)                                                          \
    if                                                                                            \
    :: (revocations & BIT(lease)) != 0 -> goto ending                                             \
    :: (revocations & BIT(lease)) == 0                                                            \
    :: may_crash && self == 0 -> goto dead                                                        \
    fi
#define W_LIST(folder, then) LIST(writer_may_crash, folder, then)
#define C_LIST(folder, then) LIST(collector_may_crash, folder, then)

/* ---- a backup ---- */

proctype writer(byte self)
{
    byte avoid, known, list;
#ifdef SLOW_LISTS
    byte began;
#endif

#ifdef WRITER_LISTS_MARKS_FIRST
    W_STEP(avoid = WHAT_IS_MARKED;);
#endif
    W_STEP(leases = leases | BIT(self););
#ifndef WRITER_LISTS_MARKS_FIRST
#ifndef WRITER_READS_INDEXES_FIRST
    W_STEP(avoid = WHAT_IS_MARKED;);
#endif
#endif
    W_LIST(indexes, known = WHAT_NAME(list); list = 0;);
#ifdef WRITER_READS_INDEXES_FIRST
    W_STEP(avoid = WHAT_IS_MARKED;);
#endif
#ifdef WRITER_TRUSTS_INDEXES
    known = known & ~avoid;
#else
    if
    :: d_step { revocations == 0 -> known = known & ~avoid } /* the list is not needed then */
    :: revocations != 0 -> W_LIST(packs, known = known & list & ~avoid; list = 0;)
    fi;
#endif
    if
    :: known != 0 -> goto stored
#ifdef STORES_TWICE
    :: known != 0
#endif
    :: known == 0
    fi;
    W_STEP(packs = packs | BIT(self););
    UNLESS_REVOKED(writer_may_crash, self);
    W_STEP(named[self] = BIT(self); indexes = indexes | BIT(self); CHECK;);
#ifndef WRITER_VOUCHES_UNSEEN
    UNLESS_REVOKED(writer_may_crash, self);
#endif
    W_STEP(vouched = vouched | BIT(self); CHECK;);
stored:
    if
    :: (revocations & BIT(self)) != 0 -> goto ending
    :: d_step {
        (revocations & BIT(self)) == 0 ->
        known = 0;
        avoid = 0
    }
    fi;
    if
    :: d_step { snapshots = snapshots | BIT(self); CHECK }
    :: self == 0 -> in_flight = BIT(self); goto unknown
    :: writer_may_crash && self == 0 -> goto dead
    fi;
#ifndef WRITER_SKIPS_LAST_CHECK
    if
    :: (revocations & BIT(self)) != 0 -> goto taking_back
    :: (revocations & BIT(self)) == 0
    :: writer_may_crash && self == 0 -> goto dead
    fi;
#endif
    d_step { acknowledged = acknowledged | BIT(self); CHECK };
    goto ending;
taking_back:
    if
    :: snapshots = snapshots & ~BIT(self)
    :: skip /* the store refuses */
    :: writer_may_crash && self == 0 -> goto dead
    fi;
    goto ending;
unknown:
#ifndef WRITER_FORGETS_UNKNOWN_PUT
    W_STEP(revocations = revocations | BIT(self););
#endif
ending:
    W_STEP(leases = leases & ~BIT(self); known = 0; avoid = 0;);
    goto over;
dead:
    atomic {
        avoid = 0;
        known = 0;
        list = 0;
        writer_may_crash = false;
        crashed = crashed | BIT(self);
        if
        :: gone = gone | BIT(self)
        :: skip /* on another host: nobody knows */
        fi
    }
over:
    skip
}

/* The store carries out late what a writer no longer waits for. */
active proctype network()
{
end:
    do
    :: d_step {
        in_flight != 0 ->
        snapshots = snapshots | in_flight;
        in_flight = 0;
        CHECK
    }
    od
}

/* At any time: the snapshot from before or, with FORGETS_ANY, a writer's. */
active proctype forget()
{
    if
    :: snapshots = snapshots & ~BIT(OLD_SNAPSHOT)
#ifdef FORGETS_ANY
    :: d_step { snapshots != 0 -> snapshots = snapshots & ~FIRST_OF(snapshots) }
#endif
    :: skip
    fi
}

/* ---- a collector ---- */

#define AT_WORK(l) ((leases & ~gone & ~revocations & BIT(l)) != 0)

/* Loads index objects; then looks which packs are there. */
#ifdef COLLECTOR_TRUSTS_INDEXES
#define THERE 255
#else
#define THERE list
#endif
inline learn()
{
    C_LIST(indexes, loaded = loaded | list; list = 0;);
    C_LIST(packs, orphans = (has_rescued -> orphans : list); has_rescued = true;
           known = (orphans | WHAT_NAME(loaded)) & THERE; list = 0;)
}

#define LOOK_AT_SNAPSHOTS                                                                         \
    C_LIST(snapshots, roots = list & ~VOID_ONES; needed = needed || roots != 0; list = 0;)
#define LIST_LEASES C_LIST(leases, list = list & ~BIT(LEASE(self));)

/* Any one of them, then the rest. */
inline remove_all(folder, what)
{
    if
    :: d_step { folder = folder & ~FIRST_OF(what); what = what & ~FIRST_OF(what); CHECK }
    :: d_step { folder = folder & (~what | FIRST_OF(what)); what = FIRST_OF(what); CHECK }
    :: collector_may_crash && self == 0 -> goto dead
    fi;
    C_STEP(folder = folder & ~what; what = 0; CHECK;)
}

#define FORGET_ALL                                                                                \
    list = 0;                                                                                     \
    loaded = 0;                                                                                   \
    known = 0;                                                                                    \
    orphans = 0;                                                                                  \
    doomed = 0;                                                                                   \
    roots = 0;                                                                                    \
    needed = false;                                                                               \
    has_rescued = false

proctype collector(byte self)
{
    byte list, loaded, known, orphans, doomed, roots;
    bool needed, has_rescued;
#ifdef SLOW_LISTS
    byte began;
#endif

    C_STEP(leases = leases | BIT(LEASE(self)););
#ifndef NO_LOCKOUT
    C_STEP(guards = guards | BIT(self););
    C_STEP(list = (guards | marks) & ~BIT(self););
    do
    :: list == 0 -> break
    :: list != 0 ->
        /* One that crashed on another host is taken over: a person says so. */
        if
        :: (leases & ~gone & ~revocations & ~crashed & (FIRST_OF(list) << WRITERS)) != 0 ->
            goto ending
        :: else
        fi;
        C_STEP(guards = guards & ~FIRST_OF(list); marks = marks & ~FIRST_OF(list);
               list = list & ~FIRST_OF(list););
    od;
#ifndef COLLECTOR_IGNORES_ITS_REVOCATION
    if
    :: (revocations & BIT(LEASE(self))) != 0 -> goto ending
    :: (revocations & BIT(LEASE(self))) == 0
    fi;
#endif
#endif
    learn();
    LOOK_AT_SNAPSHOTS;
    /* What is not needed goes, and of what is needed, any part. */
    if
    :: doomed = known
    :: needed -> doomed = FIRST_OF(known)
    :: needed -> doomed = known & ~FIRST_OF(known)
    :: needed -> doomed = known & BIT(OLD)
    fi;
    if
    :: doomed == 0 -> goto ending
    :: doomed != 0 && (!needed || (known & ~doomed) != 0) -> goto chosen
    :: doomed != 0 && needed && (known & ~doomed) == 0
    fi;
    C_STEP(packs = packs | BIT(LEASE(self)););
    UNLESS_REVOKED(collector_may_crash, LEASE(self));
    C_STEP(named[ANEW_INDEX(self)] = BIT(LEASE(self)); indexes = indexes | BIT(ANEW_INDEX(self));
           CHECK;);
    UNLESS_REVOKED(collector_may_crash, LEASE(self));
    C_STEP(vouched = vouched | BIT(LEASE(self)); CHECK;);
chosen:
    learn();
#ifdef COLLECTOR_LISTS_LEASES_FIRST
    LIST_LEASES;
#endif
#ifndef COLLECTOR_PUTS_NO_MARK
    C_STEP(marked[self] = doomed; marks = marks | BIT(self););
#endif
#ifndef COLLECTOR_LISTS_LEASES_FIRST
    LIST_LEASES;
#endif
    do
    :: list == 0 -> break
    :: list != 0 ->
        if
        :: (leases & FIRST_OF(list)) == 0 || (revocations & FIRST_OF(list)) != 0
#ifdef COLLECTOR_TRUSTS_CRASHES
        :: (gone & FIRST_OF(list)) != 0
#else
        :: (leases & gone & ~revocations & FIRST_OF(list)) != 0 ->
            revocations = revocations | FIRST_OF(list)
#endif
#ifndef PATIENT
        :: (leases & ~gone & ~revocations & FIRST_OF(list)) != 0 ->
            if
            :: revocations = revocations | FIRST_OF(list)
            :: goto ending
            :: collector_may_crash && self == 0 -> goto dead
            fi
#endif
        fi;
        list = list & ~FIRST_OF(list)
    od;
#ifndef COLLECTOR_DOES_NOT_LIST_AGAIN
    learn();
    LOOK_AT_SNAPSHOTS;
#endif
    atomic {
        orphans = 0;
        doomed = (needed && (known & ~doomed) == 0 -> doomed & ~FIRST_OF(known & doomed) : doomed);
        known = known & ~doomed;
        needed = false
    };
#ifndef NO_SETTLEMENT
#ifdef SETTLES_LEASES_ONLY
    C_STEP(list = revocations & leases & ~settled;);
#else
    C_STEP(list = revocations & ~settled;);
#endif
    do
    :: list == 0 -> break
    :: list != 0 ->
        C_STEP(settled = settled | FIRST_OF(list); counted = counted | (FIRST_OF(list) & roots);
               list = list & ~FIRST_OF(list); CHECK;)
    od;
#endif
    C_STEP(roots = 0; named[NEW_INDEX(self)] = known;
           indexes = (known != 0 -> indexes | BIT(NEW_INDEX(self)) : indexes); known = 0;
           removing = removing | BIT(self); CHECK;);
#ifdef COLLECTOR_REMOVES_PACKS_FIRST
    remove_all(packs, doomed);
#endif
    remove_all(indexes, loaded);
#ifndef COLLECTOR_REMOVES_PACKS_FIRST
    remove_all(packs, doomed);
#endif
    C_STEP(snapshots = snapshots & ~VOID_ONES; removing = removing & ~BIT(self); CHECK;);
ending:
    C_STEP(FORGET_ALL; marks = marks & ~BIT(self););
    C_STEP(guards = guards & ~BIT(self););
    C_STEP(leases = leases & ~BIT(LEASE(self)););
    goto over;
dead:
    atomic {
        FORGET_ALL;
        collector_may_crash = false;
        crashed = crashed | BIT(LEASE(self));
        removing = removing & ~BIT(self);
        if
        :: gone = gone | BIT(LEASE(self))
        :: skip
        fi
    }
over:
    skip
}

init
{
    byte at;
    atomic {
        named[OLD_INDEX] = BIT(OLD);
        do
        :: at == WRITERS -> break
        :: at < WRITERS ->
            run writer(at);
            at++
        od;
        at = 0;
        do
        :: at == COLLECTORS -> break
        :: at < COLLECTORS ->
            run collector(at);
            at++
        od
    }
}
