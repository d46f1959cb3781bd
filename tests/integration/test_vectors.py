"""docs/format.md gives its own test vectors, and the independent reader opens what is sealed in them."""

import os
import shutil

import support

VECTORS = os.path.join("tests", "reader", "vectors.py")


def check(folder, status=0):
    return support.run("/usr/bin/python3", "-B", os.path.join(support.SOURCE, VECTORS), "--check", folder, status=status)


def main():
    done = check(support.SOURCE)
    print(done.out, end="")
    with support.scratch() as folder:
        places = [("docs", "format.md"), ("tests", "reader", "vectors.txt")]
        for place in places:
            os.makedirs(os.path.join(folder, *place[:-1]), exist_ok=True)
            shutil.copy(os.path.join(support.SOURCE, *place), os.path.join(folder, *place))
        check(folder)
        for place in places:
            path = os.path.join(folder, *place)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            at = text.rindex("\ngear_digest ") + 20
            with open(path, "w", encoding="utf-8") as file:
                file.write(text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1:])
            refused = check(folder, status=1)
            assert place[-1] in refused.err, refused.err
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        print("ok another digit is noticed in both")


main()
