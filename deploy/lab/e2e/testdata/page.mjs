// Drives a browser for TestCluster_Page. Each line of standard input is a step,
// {"step": NAME, ...}, and is answered by a line: {"result": ...} or {"error": ...}.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.ROUTEWATCH_BROWSER}/`);
const { chromium } = require('playwright-core');
const axe = require('axe-core').source;

// Without these flags Chromium looks for hosts of its maker.
const context = await chromium.launchPersistentContext(process.env.ROUTEWATCH_PROFILE, {
  executablePath: process.env.ROUTEWATCH_CHROMIUM, headless: true, viewport: null,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--hide-scrollbars'],
});
await context.grantPermissions(['clipboard-read', 'clipboard-write']);

let page;
let complaints = [];

// seen notes when the page's verdict changed to what, by the clock that the test has too.
function seen() {
  window.seen = [];
  new MutationObserver(() => {
    const kind = document.body?.className;
    if (kind && window.seen.at(-1)?.kind !== kind) window.seen.push({ kind, at: Date.now() });
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['class'] });
}

/** focused describes what has the focus, and whether that can be seen. */
function focused() {
  const e = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(e);
  return { name: e === document.body ? 'BODY' : e.id || e.textContent.trim(), seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
}

const steps = {
  /** open opens the page in place of the one before, and waits until what the node is like is known. */
  async open({ url, clipboard = true, known = true }) {
    await page?.close();
    page = await context.newPage();
    page.on('console', m => m.type() === 'error' && complaints.push(m.text()));
    page.on('pageerror', e => complaints.push(String(e)));
    await steps.look({});
    await page.addInitScript(seen);
    if (!clipboard) await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
    await page.goto(url);
    if (known) await page.locator('body:not(.unsure)').waitFor({ timeout: 5000 });
  },
  /** look makes the window one of a desk or of a phone. */
  async look({ width = 1280, height = 900, dark = false }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' });
  },
  /** until waits for a verdict and returns when the page came to it. */
  async until({ kind, limit }) {
    await page.locator(`body.${kind}`).waitFor({ timeout: limit });
    return page.evaluate(k => window.seen.findLast(s => s.kind === k).at, kind);
  },
  /** shows waits for texts, wherever in a part of the page they are. */
  async shows({ selector, parts }) {
    for (const part of parts) await page.locator(selector).filter({ hasText: part }).waitFor({ timeout: 2000 });
  },
  attribute: ({ selector, name }) => page.locator(selector).first().getAttribute(name),
  /** copy presses the first button that copies, and pastes. */
  async copy({ field = false }) {
    await page.getByRole('button', { name: /^Copy/ }).first().click();
    await page.getByText('Copied', { exact: true }).waitFor({ timeout: 1000 });
    if (!field) return page.evaluate(() => navigator.clipboard.readText());
    await page.locator('#text').focus();
    await page.keyboard.press('Control+V');
    const pasted = await page.locator('#text').inputValue();
    await page.locator('#text').fill('');
    return pasted;
  },
  /** walk presses Tab from the start of the page until nothing new comes. */
  async walk() {
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    const all = [];
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      const f = await page.evaluate(focused);
      if (f.name === 'BODY') break;
      all.push(f);
    }
    return all;
  },
  /** keys presses keys where the focus is set first, and tells where it is then. */
  async keys({ selector, keys }) {
    await page.locator(selector).first().focus();
    for (const key of keys) await page.keyboard.press(key);
    return page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id);
  },
  /** axe looks for what people who do not see the page, or not well, cannot use. */
  async axe() {
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate(() => axe.run({ resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    return {
      passed: passes.length,
      violations: violations.map(v => `${v.id}: ${v.help}: ${v.nodes.map(n => n.html).slice(0, 3).join(' ')}`),
      tooWide: await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth),
    };
  },
  /** cells waits until the grid has so many, and returns how long that took since the page was opened, or since the step. */
  async cells({ count, limit }) {
    const start = Date.now();
    const said = new RegExp(`^${count.toLocaleString('en')}\\b`);
    await page.locator('#count').filter({ hasText: said }).waitFor({ timeout: limit });
    const there = await page.locator('#grid > *').count();
    if (there !== count) throw new Error(`${there} cells, want ${count}`);
    return Date.now() - start;
  },
  /** filter types text and measures until the next picture is drawn. */
  filter: ({ text }) => page.evaluate(t => new Promise(done => {
    const start = performance.now();
    const field = document.getElementById('text');
    field.value = t;
    field.dispatchEvent(new Event('input'));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  }), text),
  async select({ state }) { await page.locator('#state').selectOption(state); },
  close: () => page.close(),
  /** shot writes a picture whose top is an element. */
  async shot({ path, top }) {
    await page.locator(top).evaluate(e => e.scrollIntoView());
    await page.screenshot({ path });
  },
  /** complaints are what the browser's console has had to say since it was asked last. */
  complaints() {
    const all = complaints;
    complaints = [];
    return all;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...args } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: await steps[step](args) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${step} ${JSON.stringify(args)}: ${error.message}` }));
  }
}
await context.close();
