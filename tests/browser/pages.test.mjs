// The control plane's pages of plain HTML, as a person gets to see them: on a desk and in a hand, by day and by night.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launch } from "./chromium.mjs";
import { LOOKS, assertLooks } from "./looks.mjs";
import { start } from "./service.mjs";

const PAGES = {
    setup: { path: "/setup/x?token=y", button: "Create the account" },
    join: { path: "/join/x?token=y", button: "Set the password" },
    // What a link that is no good is answered.
    refused: { path: "/join/x?token=y", button: "Set the password", typed: "correct horse battery" },
};

let service, browser;

before(async () => {
    [service, browser] = await Promise.all([start(), launch()]);
});

after(async () => {
    await browser?.close();
    await service?.stop();
});

describe("the pages before anybody can sign in", { timeout: 60_000 }, () => {
    for (const [look, settings] of Object.entries(LOOKS)) {
        test(look, async () => {
            const context = await browser.newContext(settings);
            const page = await context.newPage();
            // All of it is one answer: what is not there at once will not come.
            page.setDefaultTimeout(10_000);
            // What its policy refuses a page is told there, and so is what cannot be loaded.
            const complaints = [];
            page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
            for (const [name, { path, button, typed }] of Object.entries(PAGES)) {
                complaints.length = 0;
                await page.goto(`http://127.0.0.1:${service.adminPort}${path}`);
                if (typed) {
                    await page.getByLabel("Password").fill(typed);
                    await page.getByRole("button", { name: button }).click();
                    await page.getByRole("alert").waitFor();
                    // The status of what it was answered.
                    complaints.shift();
                }
                await page.getByRole("button", { name: button }).waitFor();
                assert.deepEqual(complaints, []);
                await assertLooks(page, `${name}-${look}`);
            }
            await context.close();
        });
    }
});
