// Topics in a real browser: with what every browser has, and with the client in the examples' pages.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launch } from "./chromium.mjs";
import { LOOKS, assertLooks } from "./looks.mjs";
import { start } from "./service.mjs";
import { MANIFEST, published, say, until } from "./ticks.mjs";

/** A page that counts what it is told. */
const COUNTING = `<!doctype html><title>Counting</title><output>0</output><script>
  const seen = []
  const source = new EventSource('/realtime/topics/ticks')
  source.addEventListener('message', ({ data }) => {
    seen.push(JSON.parse(data).message)
    document.querySelector('output').textContent = seen.length
  })
</script>`;

let service, browser;

before(async () => {
    [service, browser] = await Promise.all([start(), launch()]);
    const source = `#{ statusCode: 200, headers: #{ "content-type": "text/html" }, body: ${JSON.stringify(COUNTING)} }`;
    const page = { name: "page", source, routes: [{ method: "GET", path: "/counting" }] };
    await service.ask("POST", "/apps/default/deploy", { ...MANIFEST, scripts: [...MANIFEST.scripts, page] });
    for (const example of ["poll", "chat"]) {
        await service.deploy(new URL(`../../examples/${example}`, import.meta.url).pathname);
    }
});

after(async () => {
    await browser?.close();
    await service?.stop();
});

describe("topics in a browser", { timeout: 120_000 }, () => {
    test("a page that counts is told everything once, through kills of the service", async () => {
        const page = await browser.newPage();
        await page.goto(`http://127.0.0.1:${service.port}/counting`);
        const count = async () => Number(await page.locator("output").textContent());
        await until("the page listens", async () => {
            await say(service, "is anybody there?");
            return (await count()) > 0;
        });
        for (let round = 0; round < 3; round++) {
            const enough = (await count()) + 20;
            const saying = (async () => {
                for (let n = 0; n < 60; n++) await say(service, { round, n });
            })();
            await until("some are told", async () => (await count()) > enough);
            await service.kill();
            await service.restart();
            await saying;
        }
        await say(service, "the last");
        const log = await published(service);
        const seen = () => page.evaluate("seen");
        await until("the last is told", async () => (await seen()).at(-1) === "the last");
        assert.deepEqual(await seen(), log.slice(-(await count())));
        assert.ok((await count()) > 180, "it listened from the start");
        await page.close();
    });

    test("a page of another origin listens to what is public, and is told why it may not to the rest", async () => {
        const page = await browser.newPage();
        await page.goto(`http://127.0.0.1:${service.port}/counting`);
        const listen = (app, topic) => page.evaluate(async ([origin, topic]) => {
            const { createClient } = await import(`${origin}/realtime/client.js`);
            return new Promise((told) => {
                const onStatus = (status) => status === "live" && told(status);
                const { done } = createClient({ url: origin }).subscribe(topic, () => {}, { onStatus });
                done.catch(({ status }) => told(status));
            });
        }, [`http://${app}.localhost:${service.port}`, topic]);
        assert.equal(await listen("poll", "votes"), "live");
        assert.equal(await listen("chat", "room.lobby"), 401);
        assert.equal(await listen("chat", "members"), 404);
        await page.close();
    });

    for (const [look, settings] of Object.entries(LOOKS)) {
        test(`the poll moves with every vote, ${look}`, async () => {
            const context = await browser.newContext(settings);
            const [voter, watcher] = await Promise.all([openPage(context, "poll"), openPage(context, "poll")]);
            const tea = (page) => page.locator("[data-choice=tea] .count").textContent().then(Number);
            for (const page of [voter, watcher]) await page.locator("footer.live").waitFor();
            await until("it stands the same", async () => (await tea(voter)) === (await tea(watcher)));
            const before = await tea(watcher);
            for (const choice of ["tea", "tea", "coffee"]) {
                await voter.getByRole("button", { name: `Vote for ${choice}` }).click();
            }
            await until("the other follows", async () => (await tea(watcher)) === before + 2);
            await assertLooks(watcher, `poll-${look}`);
            assert.deepEqual([...voter.complaints, ...watcher.complaints], []);
            await context.close();
        });

        test(`what is said in the chat is there once for everybody, ${look}`, async () => {
            const context = await browser.newContext(settings);
            const [ada, grace] = await Promise.all([openPage(context, "chat"), openPage(context, "chat")]);
            await assertLooks(ada, `chat-enter-${look}`);
            for (const [page, name] of [[ada, "Ada"], [grace, "Grace"]]) {
                await page.getByLabel("Your name").fill(name);
                await page.getByRole("button", { name: "Enter" }).click();
                await page.getByLabel("Message").waitFor();
            }
            const room = `${look} ${Date.now()}`;
            await ada.getByLabel("Message").pressSequentially(`Hello, ${room}!`);
            await grace.getByText("Ada is typing").waitFor();
            await ada.getByRole("button", { name: "Send" }).click();
            await grace.getByText(`Hello, ${room}!`).waitFor();
            await grace.getByLabel("Message").fill(`<b>Hi</b>, ${room}.`);
            await grace.getByRole("button", { name: "Send" }).click();
            await ada.getByText(`<b>Hi</b>, ${room}.`).waitFor();
            for (const page of [ada, grace]) assert.equal(await page.getByText(`Hello, ${room}!`).count(), 1);
            await assertLooks(ada, `chat-${look}`);
            // What was said before somebody came, and in this room only.
            await grace.getByRole("button", { name: "Kitchen" }).click();
            await until("the kitchen is quiet", async () => (await grace.locator("li").count()) === 0);
            await grace.getByRole("button", { name: "Lobby" }).click();
            await grace.getByText(`Hello, ${room}!`).waitFor();
            assert.deepEqual([...ada.complaints, ...grace.complaints], []);
            await context.close();
        });
    }
});

/** An example's page, which remembers what its policy refused it and what it could not load. */
async function openPage(context, app) {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.complaints = [];
    page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
    page.on("pageerror", (error) => page.complaints.push(error.message));
    await page.goto(`http://${app}.localhost:${service.port}/`);
    return page;
}
