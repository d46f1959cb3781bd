/* XML that a server answers with, read as a series of values. Door to expat. */
#pragma once

#include "common/base/buf.h"

enum {
    FX_XML_DEPTH_MAX = 16,
    FX_XML_PATH_MAX_BYTES = 256,
    FX_XML_TEXT_MAX_BYTES = 8192,
};

/*
 * An element that has ended: its names from the root on, "Error/Code", without name spaces, and the
 * text directly in it. Of an element with others in it the text is mostly white space.
 */
typedef fx_code (*fx_xml_visit)(void *ctx, const char *path, const char *text, fx_err *err);

/*
 * Visits elements in the order of their ends, until one visit fails. A document type is refused, so
 * that no entity can blow up.
 *
 * errors: DAMAGED (no well-formed XML, or longer or deeper than the limits), those of `visit`
 */
FX_MUST_USE fx_code fx_xml_read(fx_bytes bytes, fx_xml_visit visit, void *ctx, fx_err *err);
