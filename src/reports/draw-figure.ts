// Figures drawn without a browser: vega-lite lays out, vega gives SVG, resvg turns that into PNG. The libraries are loaded when the first figure
// is drawn, since most commands draw none.
import type { TopLevelSpec } from 'vega-lite';
import { colour } from './palette.js';

/** One panel of a figure. */
export interface Panel {
  /** File name without its ending, unique in a report. */
  name: string;
  title: string;
  /** What it shows, for those who cannot see it. */
  description: string;
  spec: TopLevelSpec;
}

const font = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif';

/** How every figure looks: no frame, light horizontal help, text in the page's own grey. */
const config = {
  background: 'transparent',
  font,
  padding: 2,
  view: { stroke: null },
  axis: {
    labelColor: colour.soft,
    titleColor: colour.soft,
    titleFontWeight: 'normal',
    titleFontSize: 12,
    labelFontSize: 12,
    gridColor: colour.grid,
    domain: false,
    ticks: false,
    labelPadding: 6,
    titlePadding: 8,
  },
  title: { anchor: 'start', color: colour.ink, fontSize: 13, fontWeight: 600, offset: 8, frame: 'group' },
  legend: { labelColor: colour.soft, labelFontSize: 12, title: null, orient: 'top', direction: 'horizontal', symbolStrokeWidth: 2, symbolSize: 80, columnPadding: 14, padding: 0, offset: 8, labelLimit: 150 },
} as const;

/** Draws a panel as SVG, in light colours on a transparent ground. */
export async function drawSvg(panel: Panel): Promise<string> {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  (vega as unknown as { textMetrics: { width: typeof textWidth } }).textMetrics.width = textWidth;
  const { spec } = compile({ ...panel.spec, title: panel.title, config: config as never } as TopLevelSpec);
  const view = new vega.View(vega.parse(spec), { renderer: 'none', logLevel: vega.Error });
  try {
    const svg = await view.toSVG();
    return svg.replace('<svg ', `<svg role="img" aria-label="${escapeAttribute(`${panel.title}. ${panel.description}`)}" `);
  } finally {
    view.finalize();
  }
}

/** Without a canvas, vega takes every letter for 0.8 em wide, and leaves room for text that is not there. */
function textWidth(item: { fontSize?: number }, text: unknown): number {
  return [...String(text)].reduce((sum, letter) => sum + (/[\s.,:;ijlI|!'()[\]-]/.test(letter) ? 0.34 : /[mwMW%@]/.test(letter) ? 0.9 : 0.6), 0) * (item.fontSize ?? 11);
}

/** An SVG as a PNG of twice its size, on a light ground. */
export async function rasterize(svg: string): Promise<Uint8Array> {
  const { Resvg } = await import('@resvg/resvg-js');
  return new Resvg(svg, { background: colour.paper, fitTo: { mode: 'zoom', value: 2 }, font: { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans' } }).render().asPng();
}

/** An SVG for a file of its own, on a light ground. */
export function withGround(svg: string): string {
  return svg.replace(/(<svg [^>]*>)/, `$1<rect width="100%" height="100%" fill="${colour.paper}"/>`);
}

function escapeAttribute(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/"/g, '&quot;').replace(/</g, '&lt;');
}
