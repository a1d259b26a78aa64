<?php
function fail(string $way): void {
    match ($way) {
        "refused" => throw new PDOException("SQLSTATE[HY000] [2002] Connection refused: mysql:host=db01.corp.example;user=svc_hub;password=Tr0ub4dor-9"),
        "sql" => (new PDO("sqlite::memory:"))->query("SELECT id, card_number FROM customers WHERE email = 'ana@shop.example'"),
        "file" => throw new RuntimeException("file_get_contents(/srv/app/secrets/production.pem): Failed to open stream"),
        "key" => throw new UnexpectedValueException("no region in " . var_export(["api_key" => "hk-4f9a1c77d2", "queue" => "amqp://worker:s3cr3t-pw@mq01.corp.example:5672/hub"], true)),
        "assertion" => throw new AssertionError("session eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLWFuYQ of ana@shop.example"),
    };
}
