// `draftalign report`: a study or runs as one page to read, with its figures as files where they are asked for.
import { basename, join } from 'node:path';
import type { Argv, CommandModule } from 'yargs';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { drawSvg, rasterize, withGround } from '../reports/draw-figure.js';
import { formatPage } from '../reports/page.js';
import { readReport, type ReportData } from '../reports/report-data.js';
import { runFigures } from '../reports/run-figures.js';
import { studyFigures } from '../reports/study-figures.js';
import { formatStudyMarkdown } from '../reports/study-table.js';

interface ReportArguments {
  folders: string[];
  out?: string;
  svg?: string;
  png?: string;
  markdown?: string;
}

export const reportCommand: CommandModule<object, ReportArguments> = {
  command: 'report <folders..>',
  describe: 'Show a study or training runs as one page: figures, tables, decoded text',
  builder: (yargs) =>
    yargs
      .positional('folders', { type: 'string', array: true, demandOption: true, describe: 'Folders of studies (`draftalign ablate`) or runs (`draftalign train`)' })
      .option('out', { type: 'string', describe: 'The page; default report.html in the first folder', requiresArg: true })
      .option('svg', { type: 'string', describe: 'Folder for every figure as an SVG file', requiresArg: true })
      .option('png', { type: 'string', describe: 'Folder for every figure as a PNG file', requiresArg: true })
      .option('markdown', { type: 'string', describe: 'File for the studies\' tables in Markdown; - prints them', requiresArg: true })
      .example('$0 report studies/ablation-demo', 'the page of a study')
      .example('$0 report runs/a runs/b --out both.html --png figures', 'two runs on one page, figures as PNG too')
      .epilogue('The page is one file without scripts that needs no network. It may be made while a study is still running.') as Argv<ReportArguments>,
  async handler({ folders, out, svg, png, markdown }) {
    const data = await readReport(folders);
    const path = out ?? join(folders[0]!, 'report.html');
    if (markdown !== undefined) {
      if (data.studies.length === 0) throw new UserError('--markdown writes the tables of studies; none of the folders is one.');
      const text = data.studies.map(({ document }) => formatStudyMarkdown(document)).join('\n');
      if (markdown === '-') console.log(text);
      else await writeFileAtomic(markdown, text);
    }
    const command = `draftalign report ${folders.map((folder) => basename(folder)).join(' ')}`;
    await writeFileAtomic(path, await formatPage(data, command));
    if (markdown !== '-') console.log(path);
    if (svg !== undefined || png !== undefined) await writeFigures(data, svg, png);
  },
};

async function writeFigures(data: ReportData, svgFolder: string | undefined, pngFolder: string | undefined): Promise<void> {
  const several = data.studies.length > 1;
  const panels = [
    ...data.studies.flatMap((study, index) => studyFigures(study).flatMap(({ panels: list }) => list.map((panel) => ({ ...panel, name: several ? `${index + 1}-${panel.name}` : panel.name })))),
    ...data.runs.flatMap((run) => runFigures(run).flatMap(({ panels: list }) => list)),
  ];
  for (const panel of panels) {
    const svg = await drawSvg(panel);
    if (svgFolder !== undefined) await writeFileAtomic(join(svgFolder, `${panel.name}.svg`), withGround(svg));
    if (pngFolder !== undefined) await writeFileAtomic(join(pngFolder, `${panel.name}.png`), await rasterize(svg));
  }
  console.log(`${panels.length} figures in ${[svgFolder, pngFolder].filter((folder) => folder !== undefined).join(' and ')}`);
}
