<?php
// As php -S runs it with display_errors on; a fatal error sets 500 by itself.
require __DIR__ . "/php_fail.php";
fail(ltrim($_SERVER["REQUEST_URI"], "/"));
