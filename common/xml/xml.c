#include "common/xml/xml.h"

#include <limits.h>
#include <string.h>

#include <expat.h>

typedef struct reader {
    XML_Parser parser;
    fx_xml_visit visit;
    void *ctx;
    fx_err *err;
    bool has_failed; /* err is set */
    const char *refusal;
    char path[FX_XML_PATH_MAX_BYTES];
    size_t starts[FX_XML_DEPTH_MAX]; /* of each level's name in the path, with its slash */
    fx_buf texts[FX_XML_DEPTH_MAX];
    size_t depth;
} reader;

static void
refuse(reader *r, const char *why)
{
    if (r->refusal == NULL) {
        r->refusal = why;
    }
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void
on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    reader *r = ctx;
    const char *colon = strrchr(name, ':');
    const char *local = colon == NULL ? name : colon + 1;
    size_t used = strlen(r->path);
    size_t length = strlen(local);
    if (r->depth == FX_XML_DEPTH_MAX || used + length + 2 > sizeof r->path) {
        refuse(r, "it is too deep");
        return;
    }
    r->starts[r->depth] = used;
    fx_buf_clear(&r->texts[r->depth]);
    r->depth++;
    if (used > 0) {
        r->path[used++] = '/';
    }
    memcpy(r->path + used, local, length + 1);
}

static void
on_end(void *ctx, const XML_Char *name)
{
    (void)name;
    reader *r = ctx;
    if (r->has_failed || r->refusal != NULL) {
        return; /* expat still ends an element that was stopped at its start */
    }
    FX_ASSERT(r->depth > 0);
    r->depth--;
    if (r->visit(r->ctx, r->path, fx_buf_text(&r->texts[r->depth]), r->err) != FX_OK) {
        r->has_failed = true;
        (void)XML_StopParser(r->parser, XML_FALSE);
    }
    r->path[r->starts[r->depth]] = '\0';
}

static void
on_text(void *ctx, const XML_Char *text, int length)
{
    reader *r = ctx;
    fx_err ignored;
    if (r->depth > 0 &&
        fx_buf_append(&r->texts[r->depth - 1], text, (size_t)length, &ignored) != FX_OK) {
        refuse(r, "a text in it is too long");
    }
}

static void
on_document_type(
    void *ctx, const XML_Char *name, const XML_Char *system, const XML_Char *public, int has_subset)
{
    (void)name;
    (void)system;
    (void)public;
    (void)has_subset;
    refuse(ctx, "it has a document type");
}

fx_code
fx_xml_read(fx_bytes bytes, fx_xml_visit visit, void *ctx, fx_err *err)
{
    if (bytes.size_bytes > INT_MAX) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read XML: it is too long");
    }
    reader r = {.visit = visit, .ctx = ctx, .err = err, .parser = XML_ParserCreate("UTF-8")};
    FX_ASSERT(r.parser != NULL);
    for (size_t i = 0; i < FX_XML_DEPTH_MAX; i++) {
        fx_buf_init(&r.texts[i], FX_XML_TEXT_MAX_BYTES);
    }
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_document_type);
    enum XML_Status status = XML_Parse(r.parser, bytes.data, (int)bytes.size_bytes, XML_TRUE);
    const char *why = r.refusal != NULL ? r.refusal : XML_ErrorString(XML_GetErrorCode(r.parser));
    fx_code code = FX_OK;
    if (r.has_failed) {
        code = err->code;
    } else if (status != XML_STATUS_OK) {
        code = fx_fail(
            err, FX_ERR_DAMAGED, "could not read XML: %s", why == NULL ? "not well-formed" : why);
    }
    for (size_t i = 0; i < FX_XML_DEPTH_MAX; i++) {
        fx_buf_free(&r.texts[i]);
    }
    XML_ParserFree(r.parser);
    return code;
}
