// How the report's page looks. One column of text, figures that wrap, tables that scroll by themselves; colours from the palette alone.
import { cssVariables } from './palette.js';

/** The page's style sheet. */
export const pageStyle = `
:root{color-scheme:light dark;${cssVariables('light')}}
@media (prefers-color-scheme:dark){:root{${cssVariables('dark')}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.6 Charter,"Bitstream Charter","Sitka Text",Cambria,Georgia,serif;font-feature-settings:"kern","liga"}
main{max-width:70rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
header,section>h2,section>p,section>ul,section>details,.prose{max-width:44rem}
h1{font-size:2rem;line-height:1.2;font-weight:600;letter-spacing:-.012em;margin:0 0 .6rem;text-wrap:balance}
h2{font-size:1.3rem;line-height:1.3;font-weight:600;margin:0 0 .5rem}
h3{font:600 .8rem/1.4 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--soft);margin:1.6rem 0 .4rem}
section{margin-top:3.2rem}
p{margin:.5rem 0 1rem}
.lead{font-size:1.12rem}
.soft,figcaption,.meta{color:var(--soft)}
.meta,figcaption{font-size:.92rem;line-height:1.5}
figure{margin:0}
figcaption{max-width:44rem;margin:0 0 1rem}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1.6rem 1.4rem;align-items:start}
.beside{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:0 1.4rem;align-items:start}
.beside figure{display:flex;flex-direction:column-reverse;gap:.6rem}
.panels svg{display:block;max-width:100%;height:auto;overflow:visible}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font:.86rem/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums;margin:.2rem 0 .6rem}
th,td{padding:.34rem .9rem .34rem 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid);vertical-align:baseline}
th{font-weight:500;color:var(--soft);white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--paper);padding-right:1.2rem}
tbody tr:last-child td{border-bottom:0}
tr.challenger td:first-child{color:var(--accent);font-weight:600}
tr.stack td:first-child,tr.baseline td:first-child{font-weight:600}
td small{color:var(--soft);font-size:.78rem}
ul.statements{list-style:none;padding:0;margin:.6rem 0}
ul.statements li{display:grid;grid-template-columns:5rem 1fr;gap:.2rem 1rem;padding:.7rem 0;border-top:1px solid var(--grid)}
ul.statements b{font:600 .8rem/1.9 system-ui,-apple-system,"Segoe UI",sans-serif}
ul.statements b.unmet{color:var(--accent)}
ul.statements span{display:block;color:var(--soft);font-size:.92rem}
.text{max-width:44rem;margin:.2rem 0 1.4rem;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75}
.text .prompt{color:var(--soft)}
mark{background:var(--tint);color:inherit;border-radius:.18em;padding:.1em 0;-webkit-box-decoration-break:clone;box-decoration-break:clone}
details{margin:.6rem 0}
summary{cursor:pointer;font:500 .9rem/1.6 system-ui,-apple-system,"Segoe UI",sans-serif}
summary:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
pre{overflow-x:auto;font:.8rem/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace;border-left:2px solid var(--grid);padding:.2rem 0 .2rem 1rem;margin:.6rem 0 1rem}
code{font:.88em ui-monospace,"SF Mono",Menlo,Consolas,monospace}
@media (max-width:34rem){body{font-size:16px}main{padding:2rem 1rem 3rem}h1{font-size:1.6rem}section{margin-top:2.4rem}ul.statements li{grid-template-columns:1fr}.panels svg{width:100%}}
@media print{main{padding:0}section{break-inside:avoid}}
`.trim();
