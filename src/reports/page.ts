// The report as one HTML page that needs nothing else: no script, no network, figures inline. What it says beside the figures is
// worked out from the study; no text is fitted to a result.
import { stringify } from 'yaml';
import type { StudyDocument } from '../ablation/study-document.js';
import { drawSvg } from './draw-figure.js';
import { escapeHtml } from './html.js';
import { markedTexts } from './decoded-texts.js';
import { pageStyle } from './page-style.js';
import { followPage } from './palette.js';
import type { ReportData, RunReport, StudyReport } from './report-data.js';
import { runFigures } from './run-figures.js';
import { studyFigures, type Figure } from './study-figures.js';
import { describeStudy, figuresIn, formatLift, intervalNote, objectiveRows } from './study-table.js';

/** The whole page. `command` is what made the page, for the reader who wants to make it again. */
export async function formatPage(data: ReportData, command: string): Promise<string> {
  const title = data.studies[0]?.document.title ?? `Training ${data.runs.map(({ name }) => name).join(', ')}`;
  const parts = [...(await Promise.all(data.studies.map((study, index) => studyPart(study, index)))), ...(await Promise.all(data.runs.map(runPart)))];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${escapeHtml(title)}</title>
<style>${pageStyle}</style>
</head>
<body>
<main>
${parts.join('\n')}
<section class="meta"><p>Made by <code>${escapeHtml(command)}</code></p></section>
</main>
</body>
</html>
`;
}

async function studyPart(study: StudyReport, index: number): Promise<string> {
  const { document } = study;
  const heading = index === 0 ? 'h1' : 'h2';
  const figures = await drawFigures(studyFigures(study));
  const budgets = [...document.budgets].reverse();
  return [
    `<header><${heading}>${escapeHtml(document.title)}</${heading}>`,
    `<p class="lead">${escapeHtml(leadOf(document))}</p>`,
    `<p class="meta">${escapeHtml(describeStudy(document))}${document.complete ? '' : ` This study is not finished: ${document.cellsDone} of ${document.cellsTotal} cells are in.`}</p></header>`,
    statements(document),
    `<section><h2>Results</h2><p>Accepted length by domain, and accepted drafts against ${escapeHtml(document.roles.baseline)}${document.roles.stack === null ? '' : ` and ${escapeHtml(document.roles.stack)}`}, at equal data, order, initial weights and steps. ${escapeHtml(intervalNote(document))}</p>`,
    ...budgets.map((steps) => resultTable(document, steps)),
    '</section>',
    figures,
    examples(study),
    reproduce(study),
  ].join('\n');
}

/** The first sentence: the challenger against the stack and the baseline where there is one, else the longest accepted. */
function leadOf(study: StudyDocument): string {
  const whole = study.budgets.at(-1)!;
  const rows = objectiveRows(study, whole).map(({ label, row }) => ({ label, all: figuresIn(row, null) }));
  const named = (label: string | null) => rows.find((row) => row.label === label);
  const [baseline, stack, challenger] = [named(study.roles.baseline), named(study.roles.stack), named(study.roles.challenger)];
  const value = (row: (typeof rows)[0]) => row.all.acceptedLength.value.toFixed(2);
  if (challenger !== undefined && stack !== undefined && baseline !== undefined) {
    return `After ${whole} steps, ${challenger.label} commits ${value(challenger)} tokens for each pass of the target, ${stack.label} ${value(stack)} and ${baseline.label} ${value(baseline)}. In accepted drafts, ${challenger.label} stands ${formatLift(challenger.all.againstStack?.lift, 'level')} against ${stack.label}.`;
  }
  const best = rows.reduce<(typeof rows)[0] | undefined>((top, row) => (top === undefined || row.all.acceptedLength.value > top.all.acceptedLength.value ? row : top), undefined);
  if (best === undefined) return 'No objective has been trained for the whole budget yet.';
  return `After ${whole} steps, ${best.label} is accepted longest: ${value(best)} tokens for each pass of the target.`;
}

function statements({ statements: list }: StudyDocument): string {
  if (list.length === 0) return '';
  const items = list.map(({ met, text, finding }) => `<li><b class="${met === false ? 'unmet' : ''}">${met === null ? 'open' : met ? 'met' : 'not met'}</b><div>${escapeHtml(text)}<span>${escapeHtml(finding)}</span></div></li>`);
  return `<section><h2>What it was to show</h2><p>These statements were fixed with the study's config, before it ran.</p><ul class="statements">${items.join('')}</ul></section>`;
}

function resultTable(study: StudyDocument, steps: number): string {
  const rows = objectiveRows(study, steps);
  if (rows.length === 0) return '';
  const { roles, domains } = study;
  const range = (interval: { low: number; high: number } | null) => (interval === null ? '' : ` <small>${interval.low.toFixed(2)}–${interval.high.toFixed(2)}</small>`);
  const role = (label: string) => (label === roles.challenger ? 'challenger' : label === roles.stack ? 'stack' : label === roles.baseline ? 'baseline' : '');
  const lift = (text: string) => escapeHtml(text).replace(/ (\(.*\))$/, ' <small>$1</small>');
  const head = ['objective', ...domains, ...(domains.length > 1 ? ['all domains'] : []), `drafts against ${roles.baseline}`, ...(roles.stack === null ? [] : [`against ${roles.stack}`]), 'waste'];
  const body = rows.map(({ label, row }) => {
    const all = figuresIn(row, null);
    const cells = [
      escapeHtml(label) + (row.seeds.length < study.seeds.length ? ` <small>${row.seeds.length} of ${study.seeds.length} seeds</small>` : ''),
      ...[...domains, ...(domains.length > 1 ? [null] : [])].map((domain) => {
        const { value, interval } = figuresIn(row, domain).acceptedLength;
        return value.toFixed(2) + range(interval);
      }),
      lift(formatLift(all.againstBaseline?.lift, '–')),
      ...(roles.stack === null ? [] : [lift(formatLift(all.againstStack?.lift, '–'))]),
      all.waste === null ? '–' : `${(100 * all.waste).toFixed(0)}%`,
    ];
    return `<tr class="${role(label)}">${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<h3>${steps} steps</h3><div class="scroll" tabindex="0" role="region" aria-label="Results at ${steps} steps"><table><thead><tr>${head.map((cell) => `<th scope="col">${escapeHtml(cell)}</th>`).join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

/** Figures one below the other; those of a single panel stand side by side where there is room. */
async function drawFigures(figures: readonly Figure[]): Promise<string> {
  const single = figures.filter(({ panels }) => panels.length === 1);
  const several = figures.filter(({ panels }) => panels.length > 1);
  const [beside, below] = await Promise.all([single, several].map(async (list) => (await Promise.all(list.map(drawFigure))).join('\n')));
  return `${below}\n<div class="beside">${beside}</div>`;
}

async function drawFigure({ id, title, caption, panels }: Figure): Promise<string> {
  const drawn = await Promise.all(panels.map(drawSvg));
  return `<section id="${escapeHtml(id)}"><h2>${escapeHtml(title)}</h2><figure><figcaption>${escapeHtml(caption)}</figcaption><div class="panels">${drawn.map(followPage).join('\n')}</div></figure></section>`;
}

function examples({ document, examples: found }: StudyReport): string {
  const { roles } = document;
  const shown = [roles.baseline, roles.stack, roles.challenger].flatMap((label) => found.filter((one) => one.label === label));
  const chosen = shown.length > 0 ? shown : found.slice(0, 2);
  if (chosen.length === 0) return '';
  return `<section><h2>Decoded text</h2><p>Every objective writes the target's own greedy text; what differs is how much of it was drafted. <mark>Marked</mark> pieces were accepted drafts, the rest the target wrote itself, one token a round. Seed ${chosen[0]!.seed}, ${chosen[0]!.steps} steps; the first prompt of each domain.</p>${markedTexts(document.domains, chosen)}</section>`;
}

function reproduce({ document }: StudyReport): string {
  const { target, machine, draftalignVersion } = document;
  const objectives = document.variants.filter(({ group }) => group === 'objectives').map(({ label, objective }) => `${label}: ${JSON.stringify(objective)}`);
  return `<section><h2>Settings</h2>
<p>The study's folder holds <code>study.yaml</code>, the config with everything that was overridden, and <code>study.json</code>, all figures of this page. The same result comes from <code>draftalign ablate --config study.yaml</code> with draftalign ${escapeHtml(draftalignVersion)}, up to rounding on other processors.</p>
<p class="meta">Target ${escapeHtml(target.name)}, weights ${escapeHtml(target.weightFingerprint.slice(0, 16))}…; ${machine.cores} cores, ${escapeHtml(machine.cpu)}; ${(document.seconds / 60).toFixed(0)} minutes of training and decoding.</p>
<details><summary>Objectives as terms</summary><pre>${escapeHtml(objectives.join('\n'))}</pre></details>
<details><summary>study.yaml</summary><pre>${escapeHtml(stringify(document.config, { lineWidth: 100 }))}</pre></details></section>`;
}

async function runPart(run: RunReport): Promise<string> {
  const figures = await drawFigures(runFigures(run));
  const lead = run.last === null ? 'This run has not been validated yet.' : `At step ${run.last.step}, the walk over held-out rows commits ${run.last.acceptedLength.toFixed(2)} tokens for each pass of the target${run.last.waste === null ? '' : `; ${(100 * run.last.waste).toFixed(0)}% of correct drafts are wasted`}.`;
  const settings = run.config === '' ? '' : `<section><h2>Settings</h2><details><summary>config.yaml</summary><pre>${escapeHtml(run.config)}</pre></details></section>`;
  return [`<header><h1>${escapeHtml(run.name)}</h1><p class="lead">${escapeHtml(lead)}</p></header>`, figures, settings].join('\n');
}
