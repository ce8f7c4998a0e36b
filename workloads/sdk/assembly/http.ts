/**
 * `godwit/http`: write a service as a function from a request to a response, or as a Router of such functions.
 *
 *     import { Request, Response, Router, serve } from "godwit/http";
 *
 *     const app = new Router();
 *     app.get("/hello/:name", (request: Request): Response => Response.text("Hello, " + request.param("name") + "\n"));
 *     serve(app);
 *
 * Each request gets a fresh instance of the program: nothing that it leaves in a variable is there the next time.
 */
export { Body, BodyWriter } from "./http/body";
export { Cookie } from "./http/cookie";
export { decodePath, decodeQuery, encodePart } from "./http/escape";
export { FetchOptions, FetchResponse, fetch } from "./http/fetch";
export { Headers } from "./http/headers";
export { Request } from "./http/request";
export { Response } from "./http/response";
export { Finish, Guard, Handler, Router } from "./http/router";
export { serve } from "./http/serve";
