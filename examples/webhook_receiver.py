"""Receive webhooks: a job that has ended is told once or more, never by anybody else.

SIDER_WEBHOOK_SECRET=whsec_... python examples/webhook_receiver.py 8080
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sider.client import AccessDenied, receive

MAX_BODY = 10_000  # the service sends no longer ones; cut off, a message is not as it was signed
seen: set[str] = set()  # in production a table: the same message may come again after a restart


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
        try:
            told = receive(os.environ["SIDER_WEBHOOK_SECRET"], dict(self.headers), body)
        except AccessDenied:
            self.send_response(401)
        else:
            if told.message_id not in seen:
                seen.add(told.message_id)
                print(told.photo_id, told.kind, told.state, told.problem_code or "", flush=True)
            self.send_response(204)
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
