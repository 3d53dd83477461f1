// The control plane's pages of plain HTML, as a person gets to see them: on a desk and in a hand, by day and by night.
// SCREENSHOTS=dir keeps pictures.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launch } from "./chromium.mjs";
import { start } from "./service.mjs";

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const PAGES = {
    setup: { path: "/setup/x?token=y", button: "Create the account" },
    join: { path: "/join/x?token=y", button: "Set the password" },
    // What a link that is no good is answered.
    refused: { path: "/join/x?token=y", button: "Set the password", typed: "correct horse battery" },
};
/** What WCAG AA asks of text. */
const CONTRAST = 4.5;

let service, browser;

before(async () => {
    [service, browser] = await Promise.all([start(), launch()]);
});

after(async () => {
    await browser?.close();
    await service?.stop();
});

describe("the pages before anybody can sign in", { timeout: 60_000 }, () => {
    for (const [size, viewport] of Object.entries(SIZES)) for (const colorScheme of ["light", "dark"]) {
        test(`on a ${size}, ${colorScheme}`, async () => {
            const context = await browser.newContext({ viewport, colorScheme });
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
                const { wide, unlabelled, faint } = await page.evaluate(inspect, CONTRAST);
                assert.ok(wide <= viewport.width, `${name} is ${wide} wide`);
                assert.deepEqual(unlabelled, []);
                assert.deepEqual(faint, []);
                if (process.env.SCREENSHOTS) {
                    await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${size}-${colorScheme}.png` });
                }
            }
            await context.close();
        });
    }
});

/** Runs in a page: how wide it is, which fields have no label, and which text is hard to read. */
function inspect(wanted) {
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [red, green, blue] = numbers(colour).map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return numbers(colour)[3] === 0 ? behind(element.parentElement) : colour;
    };
    const contrast = (element) => {
        const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))];
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    };
    const fields = [...document.querySelectorAll("input:not([type=hidden])")];
    const texts = [...document.querySelectorAll("h1, p, label, small, button, input:not([type=hidden])")];
    return {
        wide: document.documentElement.scrollWidth,
        unlabelled: fields.filter((field) => field.labels.length === 0).map((field) => field.name),
        faint: texts.filter((text) => contrast(text) < wanted).map((text) => `${text.localName} ${contrast(text)}`),
    };
}
