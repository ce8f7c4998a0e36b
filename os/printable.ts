/**
 * Text of a stranger for the operator's terminal: what a tenant or client wrote (a path, a name inside a component, an error that
 * quotes them) can neither move the cursor, nor turn the direction of writing, nor begin a line of its own.
 */
export const printable = (text: string): string => text.replace(/\p{Cc}|\p{Bidi_Control}/gu, (character) => (character === "\n" ? "\n    " : escaped(character)));

const escaped = (character: string): string => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
