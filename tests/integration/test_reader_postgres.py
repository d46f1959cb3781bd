"""A base backup that the independent reader restores is a server's data directory: it starts, and has the rows."""

import os

from independent_reader import read
from pg_server import Agent, Server, as_postgres, open_to_postgres, shown_on_failure
from support import scratch


def main():
    with scratch() as folder:
        open_to_postgres(folder)
        agent = Agent(folder)
        primary, restored = Server(folder, "primary"), Server(folder, "restored")
        with shown_on_failure(primary, restored):
            primary.init().start()
            primary.sql("CREATE TABLE data AS SELECT id, md5(id::text) AS text FROM generate_series(1, 30000) id")
            rows = primary.sql("SELECT id, text FROM data ORDER BY id")
            agent.run("backup", "postgres", primary.conninfo, "--name", "orders")
            primary.sql("DELETE FROM data")
            primary.stop()
            read("latest", restored.data, folder, key=agent.key, prefix=as_postgres())
            assert os.path.exists(f"{restored.data}/backup_label"), "no base backup"
            os.chmod(restored.data, 0o700)
            restored.use().start().wait_recovered()
            assert restored.sql("SELECT id, text FROM data ORDER BY id") == rows, "rows differ"
            restored.sql("INSERT INTO data VALUES (0, 'writable')")
            restored.stop()
    print("ok the restored server has what was saved")


main()
