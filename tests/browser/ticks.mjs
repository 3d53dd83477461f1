// An app that publishes what it is sent, and what it has published according to the log.

import { setTimeout as sleep } from "node:timers/promises";

export const MANIFEST = {
    hosts: ["127.0.0.1"],
    scripts: [
        {
            name: "say",
            source: `pubsub::publish("ticks", ctx.request.body)`,
            routes: [{ method: "POST", path: "/say" }],
        },
    ],
    topics: [{ name: "ticks", external: true, auth: "public" }],
};

/** Publishes a message; again, until it is known to have been published at least once. */
export async function say(service, message) {
    for (;;) {
        const sent = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(message) };
        const answer = await fetch(`http://127.0.0.1:${service.port}/say`, sent).catch(() => undefined);
        if (answer?.ok) return;
        if (answer && answer.status < 500) throw new Error(`${answer.status} ${await answer.text()}`);
        await sleep(20);
    }
}

/** All that was published, in order. */
export async function published(service) {
    const messages = [];
    for (let cursor = ""; cursor !== undefined; ) {
        const path = `/apps/default/events?kind=message.published&order=asc&limit=100${cursor && `&after=${cursor}`}`;
        const page = await service.ask("GET", path);
        messages.push(...page.items.map(({ data }) => data.message));
        cursor = page.cursor ?? undefined;
    }
    return messages;
}

/** Waits until something is true. */
export async function until(what, isTrue) {
    for (let tries = 0; tries < 600; tries++) {
        if (await isTrue()) return;
        await sleep(50);
    }
    throw new Error(`in vain awaited for half a minute: ${what}`);
}
