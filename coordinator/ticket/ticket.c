#include "coordinator/ticket/ticket.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/endorsement/endorsement.h"
#include "common/store/store.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    ID_BYTES = 16,
    HOURS_MAX = 7 * 24,
    HOURS_USUAL = 24,
    FILE_MAX_BYTES = 2 * FX_DEPOT_TICKET_MAX_BYTES,
    SIGNED_MAX_BYTES = FX_DEPOT_TICKET_MAX_BYTES + 4096,
};

/* protobuf-c's structs know no const; these are only packed. */
static char *
text_of(const char *text)
{
    return fx_link_text(text);
}

/* ---- making
 * ---------------------------------------------------------------------------------------- */

typedef struct key_list {
    char *all[FX_DEPOT_TICKET_KEY_MAX];
    size_t count;
} key_list;

/* Cuts the text into its lines. */
static fx_code
split(char *text, key_list *out, fx_err *err)
{
    for (char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        char *next = line + length + (line[length] == '\0' ? 0 : 1);
        line[length] = '\0';
        if (length > 0 && !fx_store_is_key(line)) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not make a ticket: \"%.100s\" is no object's key",
                line);
        }
        if (length > 0 && out->count == FX_DEPOT_TICKET_KEY_MAX) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not make a ticket: it names at most %d keys; make several",
                FX_DEPOT_TICKET_KEY_MAX);
        }
        if (length > 0) {
            out->all[out->count++] = line;
        }
        line = next;
    }
    return out->count > 0
               ? FX_OK
               : fx_fail(err, FX_ERR_INVALID, "could not make a ticket: there are no keys");
}

static fx_code
pack_line(const fx_depot_signed_ticket *ticket, fx_buf *out, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, SIGNED_MAX_BYTES);
    if (fx_depot_signed_ticket_pack(ticket, &bytes, err) != FX_OK ||
        fx_base64_encode(fx_buf_bytes(&bytes), out, err) != FX_OK) {
        return err->code;
    }
    return fx_buf_append_text(out, "\n", err);
}

static fx_code
pack_new(fx_depot_ticket *ticket, fx_buf *out, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_DEPOT_TICKET_MAX_BYTES);
    if (fx_depot_ticket_pack(ticket, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_depot_signed_ticket made = FORTRESS__DEPOT__SIGNED_TICKET__INIT;
    made.ticket.data = bytes.data;
    made.ticket.len = bytes.size_bytes;
    return pack_line(&made, out, err);
}

fx_code
fx_ticket_make(const fx_ticket_request *request, const char *keys, fx_buf *out, fx_err *err)
{
    unsigned char id[ID_BYTES];
    char id_text[2 * ID_BYTES + 1];
    FX_ASSERT(request->validity.ns > 0);
    char *own = strdup(keys);
    key_list *list = calloc(1, sizeof *list);
    FX_ASSERT(own != NULL && list != NULL);
    fx_code code = split(own, list, err);
    if (code == FX_OK) {
        fx_crypto_random(id, sizeof id);
        fx_hex_encode((fx_bytes){id, sizeof id}, id_text);
        fx_depot_ticket ticket;
        fortress__depot__ticket__init(&ticket);
        ticket.id = id_text;
        ticket.cluster = text_of(request->cluster.text);
        ticket.depot = text_of(request->depot.text);
        ticket.repository = text_of(request->repository.text);
        ticket.keys = list->all;
        ticket.n_keys = list->count;
        ticket.issued_wall_ns = request->now.ns;
        ticket.expires_wall_ns = request->now.ns + request->validity.ns;
        ticket.reason = text_of(request->reason);
        code = pack_new(&ticket, out, err);
    }
    free(list);
    free(own);
    return code;
}

/* ---- signing
 * --------------------------------------------------------------------------------------- */

static fx_code
check_ticket(
    const fx_ticket_signer *signer,
    const fx_depot_signed_ticket *given,
    const fx_depot_ticket *ticket,
    fx_err *err)
{
    if (ticket->expires_wall_ns <= signer->now.ns) {
        return fx_fail(err, FX_ERR_STALE, "could not sign the ticket: it has expired");
    }
    if (given->n_endorsements >= FX_DEPOT_ENDORSEMENT_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not sign the ticket: it has enough signatures");
    }
    for (size_t i = 0; i < given->n_endorsements; i++) {
        if (strcmp(given->endorsements[i]->coordinator, signer->name.text) == 0) {
            return fx_fail(
                err,
                FX_ERR_EXISTS,
                "could not sign the ticket: %s has signed it",
                signer->name.text);
        }
    }
    return FX_OK;
}

static fx_code
summarize(const fx_depot_ticket *ticket, fx_buf *summary, fx_err *err)
{
    char until[FX_WALL_TEXT_BYTES];
    fx_wall_format((fx_wall){.ns = ticket->expires_wall_ns}, until);
    if (fx_buf_append_format(
            summary,
            err,
            "ticket %s: until %s, depot %s of cluster %s may remove from repository %s (%s):\n",
            ticket->id,
            until,
            ticket->depot,
            ticket->cluster,
            ticket->repository,
            ticket->reason[0] == '\0' ? "no reason given" : ticket->reason) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < ticket->n_keys; i++) {
        if (fx_buf_append_format(summary, err, "  %s\n", ticket->keys[i]) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* With the endorsement behind the others. */
static fx_code
pack_signed(
    const fx_depot_signed_ticket *given,
    Fortress__Link__Endorsement *endorsement,
    fx_buf *out,
    fx_err *err)
{
    Fortress__Link__Endorsement *all[FX_DEPOT_ENDORSEMENT_MAX];
    fx_depot_signed_ticket made = FORTRESS__DEPOT__SIGNED_TICKET__INIT;
    made.ticket = given->ticket;
    made.endorsements = all;
    for (size_t i = 0; i < given->n_endorsements; i++) {
        all[made.n_endorsements++] = given->endorsements[i];
    }
    all[made.n_endorsements++] = endorsement;
    return pack_line(&made, out, err);
}

static fx_code
read_line(const char *line, fx_depot_signed_ticket **out_ticket, fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO text;
    fx_buf_init(&bytes, SIGNED_MAX_BYTES);
    fx_buf_init(&text, FILE_MAX_BYTES);
    if (fx_buf_append(&text, line, strcspn(line, "\r\n"), err) != FX_OK ||
        fx_base64_decode(fx_buf_text(&text), &bytes, err) != FX_OK) {
        return fx_err_wrap(err, "reading the ticket");
    }
    return fx_depot_signed_ticket_unpack(fx_buf_bytes(&bytes), out_ticket, err);
}

fx_code
fx_ticket_sign(
    const fx_ticket_signer *signer, const char *line, fx_buf *out, fx_buf *summary, fx_err *err)
{
    FX_AUTO(fx_depot_signed_ticket) given = NULL;
    FX_AUTO(fx_depot_ticket) ticket = NULL;
    FX_AUTO(fx_sign_key) key = NULL;
    unsigned char signature[FX_SIGN_BYTES];
    if (read_line(line, &given, err) != FX_OK) {
        return err->code;
    }
    fx_bytes bytes = {given->ticket.data, given->ticket.len};
    if (fx_depot_ticket_unpack(bytes, &ticket, err) != FX_OK ||
        check_ticket(signer, given, ticket, err) != FX_OK ||
        fx_sign_key_load(signer->key_file, &key, err) != FX_OK) {
        return err->code;
    }
    fx_endorsement_sign_ticket(key, bytes, signature);
    Fortress__Link__Endorsement endorsement;
    fortress__link__endorsement__init(&endorsement);
    endorsement.coordinator = text_of(signer->name.text);
    endorsement.region = text_of(signer->region.text);
    endorsement.signature.data = signature;
    endorsement.signature.len = sizeof signature;
    return pack_signed(given, &endorsement, out, err) != FX_OK ? err->code
                                                               : summarize(ticket, summary, err);
}

/* ---- the verb
 * -------------------------------------------------------------------------------------- */

static const char help[] =
    "Usage: fortress-coordinator ticket make --cluster NAME --depot HOST --repository NAME\n"
    "           [--hours N] [--reason TEXT] KEYS\n"
    "       fortress-coordinator ticket sign --name NAME --region REGION --key FILE TICKET\n"
    "A ticket permits a depot to remove the objects whose keys stand in the file KEYS, one a\n"
    "line. Coordinators of two regions have to sign it, each on its own host with its own key:\n"
    "the second signs what the first printed. Tickets go to standard output, a line each; what\n"
    "was signed goes to standard error.\n";

typedef struct options {
    const char *cluster, *depot, *repository, *reason, *name, *region, *key;
    unsigned long hours;
} options;

static bool
read_options(int argc, char **argv, options *out)
{
    static const struct option list[] = {
        {"cluster", required_argument, NULL, 'c'},
        {"depot", required_argument, NULL, 'd'},
        {"repository", required_argument, NULL, 'r'},
        {"reason", required_argument, NULL, 'w'},
        {"hours", required_argument, NULL, 'h'},
        {"name", required_argument, NULL, 'n'},
        {"region", required_argument, NULL, 'g'},
        {"key", required_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    struct {
        int letter;
        const char **to;
    } const texts[] = {
        {'c', &out->cluster},
        {'d', &out->depot},
        {'r', &out->repository},
        {'w', &out->reason},
        {'n', &out->name},
        {'g', &out->region},
        {'k', &out->key}};
    char *end = NULL;
    int letter = 0;
    optind = 1;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    while ((letter = getopt_long(argc, argv, "", list, NULL)) != -1) {
        if (letter == '?') {
            return false;
        }
        if (letter == 'h') {
            out->hours = strtoul(optarg, &end, 10);
            if (*end != '\0' || out->hours == 0 || out->hours > HOURS_MAX) {
                (void)fprintf(stderr, "--hours: from 1 to %d\n", HOURS_MAX);
                return false;
            }
        }
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            *texts[i].to = texts[i].letter == letter ? optarg : *texts[i].to;
        }
    }
    return optind == argc - 1; /* the file */
}

static fx_code
make(const options *given, const char *content, fx_buf *out, fx_err *err)
{
    fx_ticket_request request = {
        .reason = given->reason == NULL ? "" : given->reason,
        .now = fx_clock_wall(),
        .validity = FX_DUR_MS((int64_t)given->hours * 3600 * 1000)};
    if (fx_name_parse(given->cluster, "cluster", &request.cluster, err) != FX_OK ||
        fx_name_parse(given->depot, "depot", &request.depot, err) != FX_OK ||
        fx_name_parse(given->repository, "repository", &request.repository, err) != FX_OK) {
        return err->code;
    }
    return fx_ticket_make(&request, content, out, err);
}

static fx_code
sign(const options *given, const char *content, fx_buf *out, fx_buf *summary, fx_err *err)
{
    fx_ticket_signer signer = {.key_file = given->key, .now = fx_clock_wall()};
    if (fx_name_parse(given->name, "coordinator", &signer.name, err) != FX_OK ||
        fx_name_parse(given->region, "region", &signer.region, err) != FX_OK) {
        return err->code;
    }
    return fx_ticket_sign(&signer, content, out, summary, err);
}

int
fx_ticket_verb(int argc, char **argv)
{
    options given = {.hours = HOURS_USUAL};
    bool is_make = argc > 1 && strcmp(argv[1], "make") == 0;
    bool is_sign = argc > 1 && strcmp(argv[1], "sign") == 0;
    bool is_complete = (is_make || is_sign) && read_options(argc - 1, argv + 1, &given);
    if (is_make) {
        is_complete =
            is_complete && given.cluster != NULL && given.depot != NULL && given.repository != NULL;
    } else {
        is_complete =
            is_complete && given.name != NULL && given.region != NULL && given.key != NULL;
    }
    if (!is_complete) {
        (void)fputs(help, stderr);
        return EXIT_USAGE;
    }
    fx_err err = {0};
    FX_BUF_AUTO content;
    FX_BUF_AUTO out;
    FX_BUF_AUTO summary;
    fx_buf_init(&content, FILE_MAX_BYTES);
    fx_buf_init(&out, FILE_MAX_BYTES);
    fx_buf_init(&summary, FILE_MAX_BYTES);
    fx_code code = fx_file_read(argv[argc - 1], &content, &err);
    if (code == FX_OK) {
        code = is_make ? make(&given, fx_buf_text(&content), &out, &err)
                       : sign(&given, fx_buf_text(&content), &out, &summary, &err);
    }
    if (code != FX_OK) {
        (void)fprintf(stderr, "fortress-coordinator: %s\n", err.message);
        return EXIT_FAILED;
    }
    (void)fputs(fx_buf_text(&summary), stderr);
    return fputs(fx_buf_text(&out), stdout) >= 0 && fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}
