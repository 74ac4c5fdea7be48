// The few colours of a report. Figures are drawn with those for light pages; the page replaces each by a CSS variable of the same name, so
// that one drawing serves light and dark.

/** Names of colours and their values on light and dark pages. */
export const palette = {
  ink: { light: '#1f1d1a', dark: '#ece8e1' },
  soft: { light: '#6b665e', dark: '#a8a297' },
  faint: { light: '#c4beb3', dark: '#57524a' },
  grid: { light: '#e9e5dd', dark: '#322f2a' },
  accent: { light: '#b8442a', dark: '#f08a6c' },
  tint: { light: '#f6e1d9', dark: '#4a2a20' },
  paper: { light: '#fdfcfa', dark: '#191714' },
} as const;

export type ColourName = keyof typeof palette;

/** Colours of figures, light. */
export const colour = Object.fromEntries(Object.entries(palette).map(([name, { light }]) => [name, light])) as Record<ColourName, string>;

/** An SVG whose colours follow the page that it stands in. */
export function followPage(svg: string): string {
  return Object.entries(palette).reduce((text, [name, { light }]) => text.replaceAll(light, `var(--${name})`), svg);
}

/** The palette as CSS variables of one kind of page. */
export function cssVariables(kind: 'light' | 'dark'): string {
  return Object.entries(palette).map(([name, value]) => `--${name}:${value[kind]}`).join(';');
}
