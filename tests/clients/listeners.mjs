// Clients for server-sent events, each as its users have it.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";

import { createClient } from "../../client/dist/index.js";

/** By name: listens to a topic at an origin, and hands on what each message's data says. Answers how to end it. */
export const LISTENERS = {
    "eventsource"(origin, topic, take) {
        const source = new EventSource(streamOf(origin, topic));
        source.addEventListener("message", ({ data }) => take(JSON.parse(data)));
        return () => source.close();
    },

    "eventsource-client"(origin, topic, take) {
        const source = createEventSource({
            url: streamOf(origin, topic),
            onMessage: ({ event = "message", data }) => event === "message" && take(JSON.parse(data)),
        });
        return () => source.close();
    },

    "httpx-sse"(origin, topic, take) {
        const program = new URL("listen.py", import.meta.url).pathname;
        const python = new URL(".venv/bin/python", import.meta.url).pathname;
        const child = spawn(python, [program, streamOf(origin, topic)], { stdio: ["ignore", "pipe", "inherit"] });
        createInterface(child.stdout).on("line", (line) => take(JSON.parse(line)));
        return () => child.kill();
    },

    "@picloud/client"(origin, topic, take) {
        const subscription = createClient({ url: origin }).subscribe(topic, take);
        return () => subscription.close();
    },
};

const streamOf = (origin, topic) => `${origin}/realtime/topics/${topic}`;
