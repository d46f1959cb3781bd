#include "common/store/depot/depot.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/crypto/digest.h"

#include <string.h>

enum { TICKETS_MAX_BYTES = 16 * 1024 * 1024 };

static bool
names_key(const fx_depot_ticket *ticket, const char *key)
{
    for (size_t i = 0; i < ticket->n_keys; i++) {
        if (strcmp(ticket->keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

/* Why the depot would refuse it, as far as can be told without the coordinators' keys; or NULL. */
static const char *
find_fault(
    const fx_depot_store *store,
    const fx_depot_signed_ticket *signed_ticket,
    const fx_depot_ticket *ticket)
{
    bool has_two = false;
    for (size_t i = 1; i < signed_ticket->n_endorsements; i++) {
        has_two = has_two || strcmp(
                                 signed_ticket->endorsements[i]->region,
                                 signed_ticket->endorsements[0]->region) != 0;
    }
    if (strcmp(ticket->depot, store->address.peer) != 0) {
        return "the ticket that names it is for another depot";
    }
    if (ticket->expires_wall_ns <= fx_clock_wall().ns) {
        return "the ticket that names it has expired";
    }
    return has_two ? NULL : "the ticket that names it lacks signatures of two regions";
}

/* What the tickets say of an object. */
typedef struct permit {
    fx_depot_signed_ticket *ticket; /* one that names it, the best; NULL: there is none */
    const char *fault;              /* of that; NULL: none can be seen */
} permit;

static fx_code
look_at_ticket(
    const fx_depot_store *store, const char *line, const char *key, permit *out, fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_depot_signed_ticket) signed_ticket = NULL;
    FX_AUTO(fx_depot_ticket) ticket = NULL;
    fx_buf_init(&bytes, FX_DEPOT_TICKET_MAX_BYTES + 4096);
    if (fx_base64_decode(line, &bytes, err) != FX_OK ||
        fx_depot_signed_ticket_unpack(fx_buf_bytes(&bytes), &signed_ticket, err) != FX_OK ||
        fx_depot_ticket_unpack(
            (fx_bytes){signed_ticket->ticket.data, signed_ticket->ticket.len}, &ticket, err) !=
            FX_OK) {
        return err->code;
    }
    if (strcmp(ticket->repository, store->address.repository.text) == 0 && names_key(ticket, key)) {
        fx_depot_signed_ticket_free(FX_TAKE(out->ticket));
        out->fault = find_fault(store, signed_ticket, ticket);
        out->ticket = FX_TAKE(signed_ticket);
    }
    return FX_OK;
}

/* From the file that FORTRESS_DEPOT_TICKETS names, a ticket in base64 a line. */
static fx_code
find_permit(const fx_depot_store *store, const char *key, permit *out, fx_err *err)
{
    const char *path = getenv("FORTRESS_DEPOT_TICKETS"); /* NOLINT(concurrency-mt-unsafe): never
                                                            changed after the start */
    if (path == NULL || path[0] == '\0') {
        return FX_OK;
    }
    FX_BUF_AUTO content;
    fx_buf_init(&content, TICKETS_MAX_BYTES);
    if (fx_file_read(path, &content, err) != FX_OK) {
        return fx_err_wrap(err, "reading the tickets");
    }
    char *next = (char *)content.data;
    while (next != NULL && *next != '\0' && (out->ticket == NULL || out->fault != NULL)) {
        char *line = next;
        size_t length = strcspn(line, "\n");
        next = line[length] == '\0' ? NULL : line + length + 1;
        line[length] = '\0';
        if (length > 0 && look_at_ticket(store, line, key, out, err) != FX_OK) {
            fx_depot_signed_ticket_free(FX_TAKE(out->ticket));
            return fx_err_wrap(err, "reading the tickets in \"%.150s\"", path);
        }
    }
    return FX_OK;
}

fx_code
fx_depot_store_check_ticket(const void *state, const char *key, fx_err *err)
{
    const fx_depot_store *store = state;
    permit found = {0};
    if (find_permit(store, key, &found, err) != FX_OK) {
        return err->code;
    }
    const char *fault = found.ticket == NULL ? "no ticket names it" : found.fault;
    fx_depot_signed_ticket_free(found.ticket);
    return fault == NULL ? FX_OK
                         : fx_fail(
                               err,
                               FX_ERR_DENIED,
                               "could not remove \"%.90s\": %s; a depot removes by a ticket of two "
                               "coordinators alone, in the file that FORTRESS_DEPOT_TICKETS names",
                               key,
                               fault);
}

fx_code
fx_depot_store_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fx_depot_store *store = state;
    fx_depot_question q;
    char *keys[] = {fx_depot_text_of(key)};
    permit found = {0};
    if (fx_store_check_deadline(deadline, key, err) != FX_OK ||
        find_permit(store, key, &found, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_signed_ticket) ticket = found.ticket;
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_REMOVE, deadline);
    fortress__depot__remove__init(&q.body.remove);
    q.body.remove.keys = keys;
    q.body.remove.n_keys = 1;
    q.body.remove.ticket = ticket;
    fx_code code = fx_depot_question_do(store, &q, err);
    return code == FX_ERR_NOT_FOUND && q.is_doubtful ? FX_OK : code;
}
