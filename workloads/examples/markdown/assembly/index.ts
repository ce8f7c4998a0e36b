// Markdown to HTML: POST a text, get a page's inside. A part of CommonMark: headings, paragraphs, lists, quotes, code, rules, links,
// images, strong and emphasised text. What a text says is never HTML: every < in it is shown, and links go to the web only.
//
//   curl --data-binary @README.md http://…/
import { Request, Response, Router, serve } from "godwit/http";
import { render } from "./render";

const FORM = '<!doctype html><meta charset="utf-8"><title>markdown</title><form method="post" enctype="text/plain"><textarea name="text" rows="20" cols="80"></textarea><p><button>render</button></form>';

const app = new Router();
app.get("/", (request: Request): Response => Response.html(FORM));
app.post("/", (request: Request): Response => Response.html(render(request.text())).header("content-security-policy", "default-src 'none'; img-src https: http:"));
serve(app);
