// What is measured of a queue, the same for each. A queue is
//
//   start(handle)   begins to run jobs, calling `handle(data)` when each begins; resolves when it is ready
//   add(data)       adds one job; resolves when that is durable
//   addMany(count)  adds so many jobs with `{}`
//   left()          how many jobs there are that have not ended
//   stop()          ends everything
//
// The one argument is JSON, see `Asked` in bench/src/outbox/peers.rs; one line of JSON says what was found.

import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

// As between two items of ours.
const GAP_MS = 5;
const WARM_UP = 20;
const BODY = { name: 'zed', count: 7 };

function percentile(sorted, share) {
    return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

function percentiles(latencies) {
    const sorted = latencies.toSorted((a, b) => a - b);
    return { p50_ms: percentile(sorted, 0.5), p99_ms: percentile(sorted, 0.99), samples: sorted.length };
}

// From calling `add` to the handler's first line, one job at a time.
async function latency(queue, { samples, at_most_seconds }) {
    let began;
    await queue.start(() => began(performance.now()));
    const latencies = [];
    const until = performance.now() + at_most_seconds * 1000;
    // At least one, however long it takes.
    for (let n = -WARM_UP; n < samples; n++) {
        const start = new Promise((resolve) => { began = resolve; });
        const asked = performance.now();
        await queue.add(BODY);
        latencies.push((await start) - asked);
        await sleep(GAP_MS);
        if (performance.now() > until) break;
    }
    // Where there were too few, the first ones count, too.
    return percentiles(latencies.length > 2 * WARM_UP ? latencies.slice(WARM_UP) : latencies);
}

// From the first handler's first line until no job is left.
async function drain(queue, { jobs, at_most_seconds }) {
    await queue.addMany(jobs);
    let first;
    let ran = 0;
    let done;
    const all = new Promise((resolve) => { done = resolve; });
    await queue.start(() => {
        first ??= performance.now();
        if (++ran === jobs) done();
    });
    await Promise.race([all, sleep(at_most_seconds * 1000, undefined, { ref: false })]);
    if (ran === jobs) {
        while ((await queue.left()) > 0) await sleep(5);
    }
    const seconds = (performance.now() - first) / 1000;
    return { per_second: ran / seconds, jobs: ran, seconds };
}

// So many callers, each adding the next job when the one before is durable, while jobs are run.
async function together(queue, { adders, seconds }) {
    const latencies = [];
    const waiting = new Map();
    let isOver = false;
    let inTime = 0;
    await queue.start(({ n }) => {
        latencies.push(performance.now() - waiting.get(n));
        waiting.delete(n);
        if (!isOver) inTime++;
    });
    const began = performance.now();
    const until = began + seconds * 1000;
    let added = 0;
    await Promise.all(Array.from({ length: adders }, async () => {
        while (performance.now() < until) {
            const n = added++;
            waiting.set(n, performance.now());
            await queue.add({ ...BODY, n });
        }
    }));
    isOver = true;
    const left = waiting.size;
    const took = (performance.now() - began) / 1000;
    const limit = performance.now() + seconds * 1000;
    while (waiting.size > 0 && performance.now() < limit) await sleep(20);
    // Those that still wait count with how long they have waited by now: leaving them out would flatter.
    for (const asked of waiting.values()) latencies.push(performance.now() - asked);
    return { per_second: inTime / took, added_per_second: added / took, left, ...percentiles(latencies) };
}

export async function measure(open) {
    const asked = JSON.parse(process.argv[2]);
    const queue = await open(asked.url, asked.configuration);
    const found = await { latency, drain, together }[asked.mode](queue, asked);
    await Promise.race([queue.stop(), sleep(5000, undefined, { ref: false })]);
    process.stdout.write(`${JSON.stringify(found)}\n`);
    // A poll that is not due yet would keep the process.
    process.exit(0);
}
