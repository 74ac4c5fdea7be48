import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium, type Browser } from 'playwright-core';
import { drawSvg, rasterize } from '../../src/reports/draw-figure.js';
import { formatPage } from '../../src/reports/page.js';
import { palette } from '../../src/reports/palette.js';
import type { StudyReport } from '../../src/reports/report-data.js';
import { studyFigures } from '../../src/reports/study-figures.js';
import { exampleDocument, studyValue } from '../ablation/study-fixture.js';
import { parseStudy } from '../../src/ablation/study-config.js';

const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const needsBrowser = { skip: browserPath === undefined ? 'no Chromium on this machine (Debian: apt-get install chromium)' : false };

const study = parseStudy(studyValue({ sweeps: [{ name: 'gamma', objective: 'paper', set: 'losses.0.gamma', values: [2, 4] }] }));
const document = exampleDocument(study);
const report: StudyReport = {
  folder: 'study',
  document,
  curves: document.variants.slice(0, 4).map(({ label }, index) => ({
    label,
    training: Array.from({ length: 20 }, (_, step) => ({ step: 20 * step, value: 1 + step * 0.05 * (index + 1) })),
    heldOut: [],
    loss: [],
  })),
  examples: document.variants.slice(0, 4).map(({ label }) => ({
    label,
    steps: 400,
    seed: 1,
    texts: [{ set: 'maths', id: 'maths-0', prompt: '<script>alert(1)</script>', first: ' It', rounds: [{ drafted: [' is', ' 2', '?'], accepted: 2, next: '.' }] }],
  })),
};

let folder: string;
let browser: Browser | undefined;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'draftalign-page-'));
  await writeFile(join(folder, 'report.html'), await formatPage({ studies: [report], runs: [] }, 'draftalign report study'));
  if (browserPath !== undefined) browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
});
after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true });
});

for (const [name, width, colorScheme] of [['wide and light', 1280, 'light'], ['wide and dark', 1280, 'dark'], ['a phone, light', 375, 'light'], ['a phone, dark', 375, 'dark']] as const) {
  test(`the page holds in a browser: ${name}`, needsBrowser, async () => {
    const context = await browser!.newContext({ viewport: { width, height: 800 }, colorScheme });
    try {
      const page = await context.newPage();
      const trouble: string[] = [];
      page.on('console', (message) => trouble.push(message.text()));
      page.on('pageerror', (error) => trouble.push(String(error)));
      page.on('request', (request) => {
        if (!request.url().startsWith('file:')) trouble.push(`asked for ${request.url()}`);
      });
      await page.goto(`file://${join(folder, 'report.html')}`);
      const seen = await page.evaluate(`(() => {
        const texts = [...document.querySelectorAll('svg text')].filter((text) => text.textContent !== '');
        const box = (element) => element.getBoundingClientRect();
        return {
          overflow: document.documentElement.scrollWidth - innerWidth,
          ground: getComputedStyle(document.body).backgroundColor,
          ink: getComputedStyle(document.body).color,
          figures: document.querySelectorAll('svg[role=img][aria-label]').length,
          smallest: Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize) * (box(text.ownerSVGElement).width / text.ownerSVGElement.viewBox.baseVal.width))),
          outside: texts.filter((text) => box(text).right > innerWidth + 1 || box(text).left < -1).map((text) => text.textContent),
          line: [...document.querySelectorAll('svg [stroke*="--accent"]')].map((mark) => getComputedStyle(mark).stroke)[0],
          scripts: document.querySelectorAll('script').length,
          marks: document.querySelectorAll('mark').length,
        };
      })()`) as { overflow: number; ground: string; ink: string; figures: number; smallest: number; outside: string[]; line: string; scripts: number; marks: number };
      assert.deepEqual(trouble, []);
      assert.ok(seen.overflow <= 0, `the page is ${seen.overflow} pixels too wide`);
      assert.equal(seen.ground, rgb(palette.paper[colorScheme]));
      assert.equal(seen.ink, rgb(palette.ink[colorScheme]));
      assert.equal(seen.line, rgb(palette.accent[colorScheme]), 'figures follow the page');
      assert.equal(seen.figures, studyFigures(report).flatMap(({ panels }) => panels).length);
      assert.ok(seen.smallest >= 10.5, `text in figures is ${seen.smallest} pixels high`);
      assert.deepEqual(seen.outside, []);
      assert.equal(seen.scripts, 0);
      assert.ok(seen.marks >= 4);
    } finally {
      await context.close();
    }
  });
}

test('the page stands by itself and lets nothing of a study run as markup', async () => {
  const html = await formatPage({ studies: [report], runs: [] }, 'draftalign report <x>');
  assert.doesNotMatch(html, /<script|<link|@import|src=|url\(|https?:\/\/(?!www\.w3\.org\/)/);
  assert.ok(html.includes('&#60;script&#62;alert(1)'));
  assert.ok(!html.includes('<nothing>'));
  for (const { light } of Object.values(palette)) assert.equal(html.replace(/<style>[\s\S]*?<\/style>/, '').includes(light), false, `${light} would not follow the page`);
});

test('every figure can be drawn, as SVG and as PNG that is not blank', async () => {
  const panels = studyFigures(report).flatMap((figure) => figure.panels);
  assert.equal(new Set(panels.map(({ name }) => name)).size, panels.length);
  for (const panel of panels) {
    const svg = await drawSvg(panel);
    assert.match(svg, /^<svg role="img" aria-label="/);
    assert.doesNotMatch(svg, /NaN|undefined|null/);
  }
  const png = Buffer.from(await rasterize(await drawSvg(panels[0]!)));
  assert.equal(png.subarray(1, 4).toString(), 'PNG');
  assert.ok(png.length > 3000, `${png.length} bytes`);
});

function rgb(hex: string): string {
  return `rgb(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(', ')})`;
}
