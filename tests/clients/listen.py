"""Listens to a URL with httpx-sse, comes back as a client should, and prints the data of each message."""

import sys
import time

import httpx
from httpx_sse import connect_sse

last_event_id = ""
retry_s = 1.0
with httpx.Client(timeout=httpx.Timeout(5, read=40), trust_env=False) as client:
    while True:
        headers = {"last-event-id": last_event_id} if last_event_id else {}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                for event in source.iter_sse():
                    last_event_id = event.id
                    if event.retry is not None:
                        retry_s = event.retry / 1000
                    if event.event == "message":
                        print(event.data, flush=True)
        except httpx.TransportError:
            pass
        time.sleep(retry_s)
