/** Pages of lists: the parameters that every one has, and what they ask of the ledger's view. */
import type { PageRequest } from "#chain/ledger/view.ts";
import type { Hex } from "#chain/types.ts";
import { PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from "../limits.ts";
import type { Call, Schema } from "./route.ts";

export const PAGING: Readonly<Record<string, Schema>> = {
  after: { type: "string", pattern: "^[0-9a-f]{1,128}$", description: "`next` of the page before." },
  limit: { type: "integer", minimum: 1, maximum: PAGE_ROWS_MAX, default: PAGE_ROWS_DEFAULT },
};
export const pageOf = (query: Call["query"]): PageRequest => {
  const after = query["after"];
  return { limit: Number(query["limit"] ?? PAGE_ROWS_DEFAULT), ...(after === undefined ? {} : { after: String(after) as Hex }) };
};
