"""Models on other servers, asked by the Open Inference Protocol (version 2) over HTTP."""
