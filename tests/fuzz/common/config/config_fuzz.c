/* The configurations of the agent, the depot and the coordinator, and the list of the API's tokens:
 * each reads the same file. */
#include "common/config/agent_config.h"
#include "common/config/coordinator_config.h"
#include "common/config/depot_config.h"
#include "common/config/tokens.h"
#include "tests/fuzz/support/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    const char *path = fuzz_file_write((fx_bytes){data, size_bytes});
    fx_err err = {0};
    FX_AUTO(fx_agent_config) agent = NULL;
    FX_AUTO(fx_depot_config) depot = NULL;
    FX_AUTO(fx_coordinator_config) coordinator = NULL;
    fx_code code = fx_agent_config_load(path, &agent, &err);
    FX_ASSERT((code == FX_OK) == (agent != NULL));
    code = fx_depot_config_load(path, &depot, &err);
    FX_ASSERT((code == FX_OK) == (depot != NULL));
    code = fx_coordinator_config_load(path, &coordinator, &err);
    FX_ASSERT((code == FX_OK) == (coordinator != NULL));
    fx_tokens tokens = {0};
    code = fx_tokens_load(path, &tokens, &err);
    FX_ASSERT((code == FX_OK) == (tokens.items != NULL));
    fx_tokens_free(&tokens);
    return 0;
}
