// A static site: the files of the folder site, which are part of the component. Browsers keep what they have, and ask with its ETag
// whether it is still good.
import { assets } from "godwit/assets";
import { Request, Response, Router, serve } from "godwit/http";

const app = new Router();
app.all("/*", assets);
app.after((request: Request, response: Response): Response => {
  console.log(request.method + " " + request.path + " " + response.status.toString());
  return response;
});
serve(app);
