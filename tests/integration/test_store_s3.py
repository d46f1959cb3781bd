"""The s3 store against a real server, Ceph's: the conformance suite, each refusal's own message, answers
that are lost, throttling, stalls, and what the doctor says."""

import json
import os
import sys

from ceph_server import ceph
from store_tests import Proxy, call, conformance, expect, once, took
from support import AGENT, SOURCE, run, scratch

OWNER = {"AWS_ACCESS_KEY_ID": "AKIDOWNER", "AWS_SECRET_ACCESS_KEY": "secret-of-the-owner"}
READER = {"AWS_ACCESS_KEY_ID": "AKIDREADER", "AWS_SECRET_ACCESS_KEY": "secret-of-the-reader"}
HOST = {"AWS_ACCESS_KEY_ID": "AKIDHOST", "AWS_SECRET_ACCESS_KEY": "secret-of-the-host"}
SMALL = {"AWS_ACCESS_KEY_ID": "AKIDSMALL", "AWS_SECRET_ACCESS_KEY": "secret-of-the-small"}

sys.path.append("/usr/lib/python3/dist-packages")


def environment(**values):
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("AWS_", "AZURE_", "FORTRESS_CREDENTIALS"))}
    return {**kept, "HOME": "/nonexistent", **values}


def client(server):
    import botocore.config
    import botocore.session

    session = botocore.session.get_session()
    session.set_credentials(OWNER["AWS_ACCESS_KEY_ID"], OWNER["AWS_SECRET_ACCESS_KEY"])
    return session.create_client(
        "s3", endpoint_url=server.endpoint, region_name="us-east-1",
        config=botocore.config.Config(s3={"addressing_style": "path"}))


def make_buckets(server):
    for name, who in (("owner", OWNER), ("reader", READER), ("host", HOST), ("small", SMALL)):
        server.add_user(name, who["AWS_ACCESS_KEY_ID"], who["AWS_SECRET_ACCESS_KEY"])
    server.admin("quota", "set", "--quota-scope=bucket", "--uid=small", "--max-objects=4")
    server.admin("quota", "enable", "--quota-scope=bucket", "--uid=small")
    s3 = client(server)
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket="shared")
    s3.put_object(Bucket="shared", Key="p/there", Body=b"there")
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::shared", "arn:aws:s3:::shared/*"]}]}
    s3.put_bucket_policy(Bucket="shared", Policy=json.dumps(policy))


def check_refusals(server):
    print("refusals", flush=True)
    owner, url = environment(**OWNER), f"s3:{server.endpoint}/refusals/p"
    expect(call(owner, url, "put", "a", "x"), "^NOT_FOUND PERMANENT .*no such bucket")
    expect(call(owner, url, "get", "a"), "^NOT_FOUND PERMANENT .*no such bucket")
    expect(call(owner, url, "prepare"), "^OK")
    expect(call(owner, url, "put", "a", "x"), "^OK")
    expect(call(owner, url, "get", "b"), "^NOT_FOUND PERMANENT .*no such object")
    expect(call(environment(**{**OWNER, "AWS_ACCESS_KEY_ID": "AKIDNOBODY"}), url, "put", "b", "x"),
           "^DENIED PERMANENT .*wrong credentials: the server does not know this access key")
    expect(call(environment(**{**OWNER, "AWS_SECRET_ACCESS_KEY": "no-such-secret"}), url, "put", "b", "x"),
           "^DENIED PERMANENT .*wrong credentials: the secret key is not this access key's")
    expect(call(owner, url, "put", "b", "x", shift_s=3600),
           "^DENIED PERMANENT .*clocks differ.*clock is 3[56]\\d\\d s ahead of")
    expect(call(owner, url, "get", "a", shift_s=-3600),
           "^DENIED PERMANENT .*clocks differ.*clock is 3[56]\\d\\d s behind")
    expect(call(owner, f"s3:{server.endpoint}/elsewhere/p?dialect=aws&region=mars-1", "prepare"),
           "^INVALID PERMANENT .*wrong region")
    expect(call(owner, f"s3:{server.endpoint}/refusals/p".replace("//", "//key:pass@"), "prepare"),
           "^INVALID PERMANENT .*user or a password(?!.*:pass@)")
    expect(call(environment(), url, "get", "a"), "^NOT_FOUND PERMANENT .*AWS_ACCESS_KEY_ID")
    expect(call(owner, url, "stat", "b"), "^NOT_FOUND PERMANENT")
    expect(call(owner, "s3:http://127.0.0.1:1/bucket/p", "get", "a", deadline_ms=1500),
           "^UNREACHABLE TRANSIENT")

    reader, shared = environment(**READER), f"s3:{server.endpoint}/shared/p"
    expect(call(reader, shared, "get", "there"), "^OK")
    expect(call(reader, shared, "put", "mine", "x"), "^DENIED PERMANENT .*may not do this here")
    expect(call(reader, shared, "remove", "there"), "^DENIED PERMANENT .*may not do this here")

    small, full = environment(**SMALL), f"s3:{server.endpoint}/smallest/p"
    expect(call(small, full, "prepare"), "^OK")
    results = [call(small, full, "put", f"n{i}", "x") for i in range(12)]
    expect(results[0], "^OK")
    expect(results[-1], "^NO_SPACE PERMANENT .*quota")


def check_file(server):
    print("credentials of a file", flush=True)
    url = f"s3:{server.endpoint}/refusals/p"
    with scratch() as folder:
        path = os.path.join(folder, "credentials")
        with open(path, "w", encoding="utf-8") as out:
            out.write("[default]\naws_access_key_id = AKIDOWNER\n"
                      "aws_secret_access_key = secret-of-the-owner\n")
        os.chmod(path, 0o644)
        expect(call(environment(FORTRESS_CREDENTIALS_FILE=path), url, "get", "a"), "^DENIED .*chmod")
        os.chmod(path, 0o600)
        expect(call(environment(FORTRESS_CREDENTIALS_FILE=path), url, "get", "a"), "^OK")


def check_lost_answers(server):
    print("answers that are lost, throttling, stalls", flush=True)
    owner = environment(**OWNER)
    proxy = Proxy(server.endpoint.split("//")[1])
    url = f"s3:{proxy.endpoint}/refusals/lost?"

    def is_put_of(key):
        return lambda method, path: method == "PUT" and path.split("?")[0].endswith(key)

    # Done, and not answered: it is ours, and no second one.
    proxy.reset(once("lose", is_put_of("/one")))
    expect(call(owner, url, "put", "one", "x"), "^OK")
    assert len([each for each in proxy.seen if is_put_of("/one")(*each)]) == 2, proxy.seen
    # Not done, and not answered: it is tried again.
    proxy.reset(once("drop", is_put_of("/two")))
    expect(call(owner, url, "put", "two", "x"), "^OK")
    # Not done by us, and another was faster with the same bytes.
    def overtaken(method, path, count):
        if is_put_of("/three")(method, path) and not overtaken.done:
            overtaken.done = True
            expect(call(owner, f"s3:{server.endpoint}/refusals/lost", "put", "three", "x"), "^OK")
            return "drop"
        return None
    overtaken.done = False
    proxy.reset(overtaken)
    expect(call(owner, url, "put", "three", "x"), "^EXISTS PERMANENT")
    # Never answered: nobody can tell.
    proxy.reset(lambda method, path, count: "stall" if is_put_of("/four")(method, path) else None)
    expect(call(owner, url, "put", "four", "x", deadline_ms=2000), "^TIMEOUT UNKNOWN")
    proxy.reset(lambda method, path, count: "stall")
    expect(call(owner, url, "get", "one", deadline_ms=1500), "^TIMEOUT TRANSIENT")

    slow = ("answer", 503, [("Retry-After", "1")], b"<Error><Code>SlowDown</Code></Error>")
    proxy.reset(once(slow, is_put_of("/five")))
    result, seconds = took(lambda: call(owner, url, "put", "five", "x"))
    expect(result, "^OK")
    assert seconds >= 1, f"came back after {seconds} s"
    proxy.reset(lambda method, path, count: slow)
    expect(call(owner, url, "get", "one", deadline_ms=3000), "^BUSY TRANSIENT .*slow down")
    assert len(proxy.seen) <= 4, proxy.seen

    # What Amazon answers in another region.
    moved = ("answer", 400, [], b"<Error><Code>AuthorizationHeaderMalformed</Code>"
             b"<Region>eu-central-1</Region></Error>")
    proxy.reset(lambda method, path, count: moved)
    expect(call(owner, url, "get", "one"), "^INVALID PERMANENT .*wrong region.*eu-central-1")
    moved = ("answer", 301, [("x-amz-bucket-region", "eu-central-1")], b"")
    proxy.reset(lambda method, path, count: moved)
    expect(call(owner, url, "stat", "one"), "^INVALID PERMANENT .*wrong region.*eu-central-1")
    html = ("answer", 403, [], b"<html><br>blocked by a proxy</html>")
    proxy.reset(lambda method, path, count: html)
    expect(call(owner, url, "get", "one"), "^DENIED PERMANENT")

    # A server that knows no conditional put: it is asked first, and the doctor tells.
    not_offered = ("answer", 501, [], b"<Error><Code>NotImplemented</Code></Error>")
    proxy.reset(lambda method, path, count: not_offered if is_put_of(".fortress-probe")(method, path) else None)
    expect(call(owner, url, "put", "one", "y"), "^EXISTS PERMANENT")
    proxy.stop()


def check_parts(server):
    print("uploads in parts", flush=True)
    owner = environment(**OWNER)
    proxy = Proxy(server.endpoint.split("//")[1])
    url = f"s3:{proxy.endpoint}/refusals/parts?multipart=unconditional&part-mib=5"
    size = 12 * 1024 * 1024
    s3 = client(server)

    def is_end(method, path):
        return method == "POST" and "uploadId=" in path

    def uploads():
        return len(s3.list_multipart_uploads(Bucket="refusals").get("Uploads", []))

    proxy.reset(once("lose", is_end))
    expect(call(owner, url, "fill", "one", str(size)), "^OK")
    assert s3.head_object(Bucket="refusals", Key="parts/one")["ContentLength"] == size
    proxy.reset(once("drop", lambda method, path: "partNumber=2" in path))
    expect(call(owner, url, "fill", "two", str(size)), "^OK")
    expect(call(owner, url, "fill", "two", str(size)), "^EXISTS PERMANENT")
    assert uploads() == 0
    # A part that fails for good takes the others back.
    refused = ("answer", 403, [], b"<Error><Code>AccessDenied</Code></Error>")
    proxy.reset(lambda method, path, count: refused if "partNumber=3" in path else None)
    expect(call(owner, url, "fill", "three", str(size)), "^DENIED PERMANENT")
    assert uploads() == 0
    # Where even that fails the doctor shows what is left.
    proxy.reset(lambda method, path, count:
                refused if "partNumber=3" in path or method == "DELETE" else None)
    expect(call(owner, url, "fill", "four", str(size)), "^DENIED PERMANENT")
    assert uploads() == 1
    found = doctor(owner, f"s3:{server.endpoint}/refusals/parts", status=3)
    assert found["leftovers"] == "yes" and found["leftover_count"] == 1, found
    # By itself it uses no parts where their end could replace an object.
    proxy.reset(lambda method, path, count: None)
    expect(call(owner, url.replace("unconditional", "safe"), "fill", "five", str(size)), "^OK")
    assert len([each for each in proxy.seen if each[0] == "PUT" and each[1].endswith("/five")]) == 1
    proxy.stop()


def doctor(who, url, status=0):
    done = run(AGENT, "doctor", "store", "--repo", url, "--json", env=who, status=status)
    found = json.loads(done.out.strip().splitlines()[-1])
    print("  ", found, flush=True)
    assert found["event"] == "summary" and found["exit_code"] == status
    return found


def check_doctor(server):
    print("the doctor", flush=True)
    owner = environment(**OWNER)
    found = doctor(owner, f"s3:{server.endpoint}/conformance/doctor")
    for key in ("can_put", "can_get", "can_list", "can_remove", "refuses_replacement", "lists_consistently"):
        assert found[key] == "yes", found
    assert found["versioning"] == "no" and found["object_lock"] == "no", found
    assert found["withstands_stolen_host"] == "no" and abs(found["clock_skew_s"]) <= 2, found

    client(server).put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}})
    # Ceph 16 replaces an object of a bucket with versions (it keeps the old one): that must be seen.
    found = doctor(owner, f"s3:{server.endpoint}/locked/doctor", status=3)
    assert found["refuses_replacement"] == "no" and found["versioning"] == "yes", found
    assert found["object_lock"] == "yes" and found["lock_mode"] == "COMPLIANCE", found
    assert found["lock_days"] == 30 and found["withstands_stolen_host"] == "yes", found

    check_doctor_of_host(server)
    found = doctor(environment(**READER), f"s3:{server.endpoint}/shared/p", status=3)
    assert found["can_put"] == "no" and found["can_list"] == "yes", found
    done = run(AGENT, "doctor", "store", "--repo", f"s3:{server.endpoint}/nowhere/p", env=owner, status=6)
    assert "no such bucket" in done.err, done.err
    done = run(AGENT, "doctor", "store", "--repo", f"s3:{server.endpoint}/conformance/doctor", env=owner)
    assert "refuses to replace them    yes" in done.out, done.out


def check_doctor_of_host(server):
    """A host that may put and not remove: only a policy by prefix keeps it from hiding snapshots."""
    s3, host, url = client(server), environment(**HOST), f"s3:{server.endpoint}/hosts/p"
    allow = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/host"]},
             "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
             "Resource": ["arn:aws:s3:::hosts", "arn:aws:s3:::hosts/*"]}
    deny = {"Effect": "Deny", "Principal": {"AWS": ["arn:aws:iam:::user/host"]}, "Action": "s3:PutObject",
            "Resource": [f"arn:aws:s3:::hosts/p/{kind}/*"
                         for kind in ("forgotten", "settled", "holds", "marks", "repairs")]}
    s3.create_bucket(Bucket="hosts")
    for statements, can_hide, withstands in (([allow], "yes", "no"), ([allow, deny], "no", "yes")):
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        s3.put_bucket_policy(Bucket="hosts", Policy=policy)
        for _ in range(2):  # the first leaves what it may not remove
            found = doctor(host, url)
            assert found["can_put"] == "yes" and found["can_remove"] == "no", found
            assert found["can_hide"] == can_hide and found["withstands_stolen_host"] == withstands, found
    # Half of the policy does not do.
    deny["Resource"] = ["arn:aws:s3:::hosts/p/forgotten/*"]
    s3.put_bucket_policy(Bucket="hosts", Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow, deny]}))
    assert doctor(host, url)["can_hide"] == "yes"
    # What the doctor left troubles nobody.
    s3.put_bucket_policy(Bucket="hosts", Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    with scratch() as folder:
        words = ("--repo", url, "--key-file", os.path.join(folder, "key"))
        run(AGENT, "repo", "init", *words, env=environment(**HOST))
        run(AGENT, "backup", "files", os.path.join(SOURCE, "proto"), *words, env=environment(**HOST))
        assert "files:" in run(AGENT, "snapshots", *words, env=environment(**HOST)).out
        run(AGENT, "verify", *words, env=environment(**HOST))


def check_backup(server):
    print("a backup and its restore", flush=True)
    owner, url = environment(**OWNER), f"s3:{server.endpoint}/backups/host-1"
    with scratch() as folder:
        source, target = os.path.join(folder, "source"), os.path.join(folder, "target")
        key = os.path.join(folder, "key")
        os.mkdir(source)
        for number in range(20):
            with open(os.path.join(source, f"file-{number}"), "wb") as out:
                out.write(os.urandom(50000))
        options = ("--repo", url, "--key-file", key)
        run(AGENT, "repo", "init", *options, env=owner)
        run(AGENT, "backup", "files", source, *options, env=owner)
        run(AGENT, "verify", "--read-data", *options, env=owner)
        run(AGENT, "restore", "latest", "--target", target, *options, env=owner)
        run("diff", "-r", source, os.path.join(target, source.lstrip("/")))


def main():
    run("/usr/bin/python3", "-B", os.path.join(SOURCE, "tests/unit/common/store/s3/sign_vectors.py"), "--check")
    with ceph() as server:
        make_buckets(server)
        conformance(
            environment(**OWNER),
            f"s3:{server.endpoint}/conformance",
            f"weak=s3:{server.endpoint}/locked/p?multipart=unconditional&part-mib=5")
        check_refusals(server)
        check_file(server)
        check_lost_answers(server)
        check_parts(server)
        check_doctor(server)
        check_backup(server)


if __name__ == "__main__":
    main()
