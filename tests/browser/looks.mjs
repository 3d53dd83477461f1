// How pages look: on a desk and in a hand, by day and by night.

import assert from "node:assert/strict";

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** What WCAG AA asks of text. */
const CONTRAST = 4.5;

/** By name: settings of a browser's context. */
export const LOOKS = Object.fromEntries(
    Object.entries(SIZES).flatMap(([size, viewport]) =>
        ["light", "dark"].map((colorScheme) => [`${size}-${colorScheme}`, { viewport, colorScheme }]),
    ),
);

/** Nothing is too wide, without a label, or hard to read. SCREENSHOTS=dir keeps a picture by this name. */
export async function assertLooks(page, name) {
    const { wide, unlabelled, faint } = await page.evaluate(inspect, CONTRAST);
    const { width } = page.viewportSize();
    assert.ok(wide <= width, `${name} is ${wide} wide`);
    assert.deepEqual(unlabelled, []);
    assert.deepEqual(faint, []);
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
}

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
    const texts = [...document.querySelectorAll("h1, p, li, label, small, button, input:not([type=hidden])")];
    return {
        wide: document.documentElement.scrollWidth,
        unlabelled: fields.filter((field) => field.labels.length === 0 && !field.ariaLabel).map((field) => field.name),
        faint: texts.filter((text) => contrast(text) < wanted).map((text) => `${text.localName} ${contrast(text)}`),
    };
}
