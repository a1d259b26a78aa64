<?php
// A front controller of the kind that answers {"error": ..., "trace": ...}.
require __DIR__ . "/php_fail.php";
header_remove("X-Powered-By");
try {
    fail(ltrim($_SERVER["REQUEST_URI"], "/"));
} catch (Throwable $error) {
    http_response_code(500);
    header("Content-Type: application/json");
    echo json_encode(["error" => $error->getMessage(), "at" => $error->getFile() . ":" . $error->getLine(), "trace" => $error->getTraceAsString()]);
}
