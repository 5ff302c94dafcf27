// Opens dashboards in a real Grafana for TestGrafana:
//   node grafana.mjs '[{"url": URL, "width": W, "height": H, "png": FILE or "", "shown": H}, ...]'
// and prints for each what its panels are: {"panels": N, "empty": [TITLE], "errors": [TEXT]}.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.ROUTEWATCH_BROWSER}/`);
const { chromium } = require('playwright-core');

const context = await chromium.launchPersistentContext(process.env.ROUTEWATCH_PROFILE, {
  executablePath: process.env.ROUTEWATCH_CHROMIUM, headless: true, viewport: null,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--hide-scrollbars'],
});

/** settle waits until no panel is loading any more. */
async function settle(page) {
  await page.locator('section[data-testid^="data-testid Panel header"], [data-testid^="data-testid Panel header"]').first().waitFor({ timeout: 30000 });
  await page.waitForLoadState('networkidle', { timeout: 30000 }).catch(() => {});
  await page.waitForTimeout(1500); // the last animation
}

for (const board of JSON.parse(process.argv[2])) {
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', e => errors.push(String(e)));
  page.on('response', async r => {
    if (!r.url().includes('/api/ds/query')) return;
    const answer = await r.json().catch(() => ({}));
    for (const [id, result] of Object.entries(answer.results ?? {})) {
      if (result.error) errors.push(`query ${id}: ${result.error}`);
    }
    if (r.status() >= 400) errors.push(`${r.status()} ${r.url()}`);
  });
  await page.setViewportSize({ width: board.width, height: board.height });
  await page.goto(board.url);
  await settle(page);
  const seen = await page.evaluate(() => {
    const panels = [...document.querySelectorAll('[data-testid^="data-testid Panel header"]')];
    const title = p => p.getAttribute('data-testid').replace('data-testid Panel header ', '');
    return {
      panels: panels.length,
      empty: panels.filter(p => p.textContent.includes('No data')).map(title),
      broken: [...document.querySelectorAll('[data-testid="data-testid Panel status error"]')].map(e => e.closest('[data-testid^="data-testid Panel header"]')).filter(Boolean).map(title),
    };
  });
  if (board.png) await page.screenshot({ path: board.png, clip: { x: 0, y: 0, width: board.width, height: board.shown } });
  console.log(JSON.stringify({ panels: seen.panels, empty: seen.empty, errors: [...errors, ...seen.broken.map(t => `panel ${t} shows an error`)] }));
  await page.close();
}
await context.close();
