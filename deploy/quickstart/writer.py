"""A client of the platform: resolves the service's name through the caching resolver at each connection,
writes one row after another, and records each acknowledged commit with its time."""

import json
import threading
import time

import psycopg2


class Writer(threading.Thread):
    """Records {seq, sent, acked, address} a line in `path`; `failures` holds what went wrong when."""

    def __init__(self, lab, path, pause_s=0.02, address=None):
        super().__init__(daemon=True)
        self.lab = lab
        self.path = path
        self.pause_s = pause_s
        self.fixed_address = address  # past the name, straight to one server
        self.acked = []               # (seq, sent, acked, address)
        self.failures = []            # (time, text)
        self.ending = threading.Event()
        self.seq = 0

    def connect(self):
        address = self.fixed_address
        if address is None:
            answers = self.lab.resolve(self.lab.ports["resolver"])
            if not answers:
                raise OSError("the service's name does not resolve")
            address = answers[0]
        connection = psycopg2.connect(
            host=address, port=self.lab.ports["postgres"], user="app", dbname="app",
            password=self.lab.passwords["app"], connect_timeout=2,
            options="-c statement_timeout=2000", tcp_user_timeout=3000)
        connection.autocommit = True
        return connection, address

    def write_rows(self, connection, address, out):
        with connection.cursor() as cursor:
            while not self.ending.is_set():
                self.seq += 1
                sent = time.time()
                cursor.execute("INSERT INTO orders (seq, sent_at) VALUES (%s, to_timestamp(%s))",
                               (self.seq, sent))
                acked = time.time()
                self.acked.append((self.seq, sent, acked, address))
                out.write(json.dumps({"seq": self.seq, "sent": sent, "acked": acked,
                                      "address": address}) + "\n")
                out.flush()
                self.ending.wait(self.pause_s)

    def run(self):
        with open(self.path, "a", encoding="utf-8") as out:
            while not self.ending.is_set():
                connection = None
                try:
                    connection, address = self.connect()
                    self.write_rows(connection, address, out)
                except (psycopg2.Error, OSError) as failure:
                    self.failures.append((time.time(), str(failure).strip()))
                    self.ending.wait(0.1)
                finally:
                    if connection is not None:
                        connection.close()

    def stop(self):
        self.ending.set()
        self.join(10)

    def last_before(self, when):
        """The last commit acknowledged before a time."""
        earlier = [row for row in self.acked if row[2] < when]
        return earlier[-1] if earlier else None

    def first_after(self, when):
        """The first commit acknowledged after a time."""
        return next((row for row in self.acked if row[2] > when), None)
