"""The azure store against Azurite: the conformance suite, with an account's key and with a shared access
signature, refusals, answers that are lost, and what the doctor says."""

import base64
import datetime
import email.utils
import hashlib
import hmac
import json
import os
import urllib.parse

from azurite_server import ACCOUNT, KEY, azurite
from store_tests import Proxy, call, conformance, expect, once
from support import AGENT, run


def environment(**values):
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("AWS_", "AZURE_", "FORTRESS_CREDENTIALS"))}
    return {**kept, "HOME": "/nonexistent", **values}


def account_token(permissions):
    """A shared access signature of the account.
    source: learn.microsoft.com/rest/api/storageservices/create-account-sas"""
    version, expiry = "2021-08-06", datetime.datetime.utcnow() + datetime.timedelta(hours=1)
    fields = {"sp": permissions, "ss": "b", "srt": "sco", "st": "", "se": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
              "sip": "", "spr": "https,http", "sv": version, "ses": ""}
    text = "\n".join([ACCOUNT, *fields.values(), ""])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    given = {name: value for name, value in fields.items() if value}
    return "?" + urllib.parse.urlencode({**given, "sig": base64.b64encode(digest).decode()})


def check_refusals(address):
    print("refusals", flush=True)
    owner, url = environment(AZURE_STORAGE_KEY=KEY), f"azure:{address}/refusals/p"
    expect(call(owner, url, "put", "a", "x"), "^NOT_FOUND PERMANENT .*no such container")
    expect(call(owner, url, "prepare"), "^OK")
    expect(call(owner, url, "put", "a", "x"), "^OK")
    expect(call(owner, url, "get", "b"), "^NOT_FOUND PERMANENT .*no such blob")
    wrong = base64.b64encode(b"not the key of the account").decode()
    expect(call(environment(AZURE_STORAGE_KEY=wrong), url, "get", "a"), "^DENIED PERMANENT")
    expect(call(environment(AZURE_STORAGE_KEY="no base64!"), url, "get", "a"), "^INVALID PERMANENT")
    expect(call(environment(), url, "get", "a"), "^NOT_FOUND PERMANENT .*AZURE_STORAGE_KEY")
    reader = environment(AZURE_STORAGE_SAS_TOKEN=account_token("rl"))
    expect(call(reader, url, "get", "a"), "^OK")
    expect(call(reader, url, "put", "b", "x"), "^DENIED PERMANENT .*may not do this here")
    expect(call(reader, url, "remove", "a"), "^DENIED PERMANENT .*may not do this here")
    token = account_token("rwdlac")
    expired = environment(AZURE_STORAGE_SAS_TOKEN=token.replace("sig=", "sig=AAAA"))
    got = call(expired, url, "get", "a")
    expect(got, "^DENIED PERMANENT")
    assert "sig=" not in got
    got = call(environment(AZURE_STORAGE_SAS_TOKEN=token),
               f"azure:http://127.0.0.1:1/{ACCOUNT}/refusals/p", "get", "a", deadline_ms=1000)
    expect(got, "^UNREACHABLE TRANSIENT")
    assert "sig=" not in got


def check_lost_answers(address):
    print("answers that are lost", flush=True)
    owner = environment(AZURE_STORAGE_KEY=KEY)
    host, account = address.split("//")[1].split("/")
    proxy = Proxy(host)
    url = f"azure:{proxy.endpoint}/{account}/refusals/lost?block-mib=1"

    def is_put_of(key, query=""):
        return lambda method, path: method == "PUT" and f"/{key}?{query}".rstrip("?") in path

    proxy.reset(once("lose", is_put_of("one")))
    expect(call(owner, url, "put", "one", "x"), "^OK")
    proxy.reset(once("drop", is_put_of("two")))
    expect(call(owner, url, "put", "two", "x"), "^OK")
    proxy.reset(lambda method, path, count: "stall" if is_put_of("three")(method, path) else None)
    expect(call(owner, url, "put", "three", "x", deadline_ms=2000), "^TIMEOUT UNKNOWN")
    proxy.reset(once("lose", is_put_of("four", "comp=blocklist")))
    expect(call(owner, url, "fill", "four", "5000000"), "^OK")
    assert len([each for each in proxy.seen if "comp=block&" in each[1]]) == 5, proxy.seen
    expect(call(owner, url, "fill", "four", "5000000"), "^EXISTS PERMANENT")
    busy = ("answer", 503, [("x-ms-error-code", "ServerBusy"), ("Retry-After", "1")], b"")
    proxy.reset(once(busy, is_put_of("five")))
    expect(call(owner, url, "put", "five", "x"), "^OK")
    proxy.reset(lambda method, path, count: busy)
    expect(call(owner, url, "get", "one", deadline_ms=2500), "^BUSY TRANSIENT")
    # The service refuses a clock that is off as if the key were wrong; Azurite looks at no clock.
    refused = ("answer", 403, [("x-ms-error-code", "AuthenticationFailed"),
                               ("Date", email.utils.formatdate(usegmt=True))], b"")
    proxy.reset(lambda method, path, count: refused)
    expect(call(owner, url, "get", "one", shift_s=7200), "^DENIED PERMANENT .*clock is 7[12]\\d\\d s ahead")
    expect(call(owner, url, "get", "one"), "^DENIED PERMANENT .*wrong credentials[^;]*$")
    proxy.stop()


def check_doctor(address):
    print("the doctor", flush=True)
    owner = environment(AZURE_STORAGE_KEY=KEY)
    done = run(AGENT, "doctor", "store", "--repo", f"azure:{address}/conformance/doctor", "--json", env=owner)
    found = json.loads(done.out.strip().splitlines()[-1])
    print("  ", found, flush=True)
    for key in ("can_put", "can_get", "can_list", "can_remove", "refuses_replacement", "lists_consistently"):
        assert found[key] == "yes", found
    assert found["withstands_stolen_host"] == "no", found


def main():
    with azurite() as address:
        conformance(environment(AZURE_STORAGE_KEY=KEY), f"azure:{address}/conformance/p?block-mib=4")
        conformance(environment(AZURE_STORAGE_SAS_TOKEN=account_token("rwdlac")), f"azure:{address}/by-token")
        check_refusals(address)
        check_lost_answers(address)
        check_doctor(address)


if __name__ == "__main__":
    main()
