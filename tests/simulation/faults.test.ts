/** Networks, machines, clocks and disks that fail. */

import { promise } from "./promise.ts";
import { FAULTS, NETWORKS } from "./scenarios.ts";

promise([...NETWORKS, ...FAULTS]);
