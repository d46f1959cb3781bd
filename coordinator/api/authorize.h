/* Who asks, by bearer token. */
#pragma once

#include "common/config/tokens.h"

/*
 * The token whose hash is that of the token in an Authorization header ("Bearer TOKEN"), NULL if
 * there is none. Takes the same time for every wrong token: all hashes are compared, each as a
 * whole.
 */
const fx_token *fx_authorize(const fx_tokens *tokens, const char *authorization);
