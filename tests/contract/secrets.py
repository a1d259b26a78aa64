"""Texts that hold the secret `hunter2`, as failing services print them, and texts that hold none."""

from __future__ import annotations

SECRET = "hunter2"

HOLDING = r'''
{"password": "hunter2"}
{"a":"{\"password\":\"hunter2\"}"}
{"a":"{\\\"password\\\":\\\"hunter2\\\"}"}
{"db_password":"hunter2","x":1}
{'password': 'hunter2', 'user': 'ana'}
{"password":"a\"hunter2"}
{"password":hunter2}
"tokens": ["hunter2", "hunter2x"]
""password"":""hunter2""
password = """hunter2"""
password=hunter2&x=1
password=b'hunter2'
password: hunter2
  password := "hunter2"
{&quot;api_key&quot;:&nbsp&quot;hunter2&quot;,&nbsp&quot;a&quot;
api_key&nbsp;=&nbsp;&quot;hunter2&quot;
<b>Fatal error</b>: 'api_key' =&gt; 'hunter2', 'b'
{"queue": "amqp:\/\/worker:hunter2@mq01:5672\/hub"}
{"queue": "amqp:\\/\\/worker:hunter2@mq01:5672\\/hub"}
queue: &quot;amqp:&#x2F;&#x2F;worker:hunter2@mq01:5672&#x2F;hub&quot;
$password = "hunter2";
PASSWORD=hunter2 USER=x
Pwd=hunter2
passphrase: hunter2
DB_PASS=hunter2
"pass":"hunter2"
-Dspring.datasource.password=hunter2
mysql --password hunter2 -h db
mysql --password=hunter2
Server=db;User ID=sa;Password=hunter2;
Server=db;User ID=sa;Password=long hunter2 secret;Encrypt=true
Server=db;Password='hunter2;x';Encrypt=1
Server=db;User Id=sa;Password=a&hunter2;Encrypt=1
<add name="X" connectionString="Server=db;Password=hunter2;" />
ConnectionString=hunter2
AccountKey=hunter2==;EndpointSuffix=core
SharedAccessKey=hunter2=
["password"]=>  string(7) "hunter2"
[password] => hunter2
<password>hunter2</password>
<password type="x">hunter2</password>
<password id=1 xsi:type='xsd:string' >hunter2</password>
<property name="password">hunter2</property>
<input name=password value=hunter2>
<input type="password" id="x" value="hunter2"/>
<input value="hunter2" id="x" name="password">
<add key="db.password" value="hunter2" />
&lt;add key=&quot;db.password&quot; value=&quot;hunter2&quot; /&gt;
{"xml":"<add key=\"db.password\" value=\"hunter2\" />"}
WITH PASSWORD 'hunter2' >= 1
secret "hunter2" => 1
<td>DB_PASSWORD</td><td class="code"><pre>&#x27;hunter2&#x27;</pre></td>
<td>DB_PASSWORD</td> <td class="code"><pre>hunter2</pre></td>
&quot;password&quot;: &quot;hunter2&quot;
User(name=ana, password=hunter2)
{User:ana Password:hunter2}
def connect(user='sa', password='hunter2'):
password = os.environ.get("X", "hunter2")
os.environ.get("DB_PASSWORD", "hunter2")
password: Some("hunter2")
CREATE USER x IDENTIFIED BY 'hunter2'
CREATE ROLE x WITH PASSWORD 'hunter2'
postgres://ana:hunter2@db/x
postgres://ana:hunt/hunter2@db/x
redis://:hunter2@db:6379/0
amqp://ana:p@hunter2@db/x
Authorization: Basic aHVudGVyMg==hunter2
Authorization: Digest username="x", response="hunter2"
Authorization: token hunter2
\"authorization\":\"Bearer hunter2\"
'HTTP_AUTHORIZATION': 'Bearer hunter2hunter2'
"authorization":["Bearer hunter2hunter2"]
(b'X-Auth-Token', b'hunter2'), (b'Host', b'x')
sent Bearer hunter2hunter2 and failed
Cookie: a=b; sid=hunter2
Set-Cookie: sessionid=hunter2; Path=/
Cookie: token=a; other=hunter2
'HTTP_COOKIE': 'a=b; c=hunter2'
PHPSESSID=hunter2
JSESSIONID=hunter2
ASP.NET_SessionId=hunter2
connect.sid=hunter2
X-Auth-Token: hunter2
X-Api-Key: hunter2
api_key=hunter2
?sig=hunter2&sp=r
/cb?code=hunter2&state=1
GET /x?access_token=hunter2 HTTP/1.1
access_token":"hunter2"
client_secret=hunter2
SECRET_KEY = 'hunter2'
aws_secret_access_key = hunter2
AKIAhunter2000000AAA
ghp_abcdefghij0123456789hunter2
sk_live_hunter2hunter2hunter2
sk-proj-hunter2hunter2hunter2
npm_hunter2hunter2hunter2
AIzahunter2hunter2hunter2
github_pat_hunter2hunter2hunter2
glpat-hunter2hunter2hunter2
xoxb-123456-hunter2
$2b$12$abcdefghijklmnopqrhunter2
eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2
-----BEGIN RSA PRIVATE KEY-----\nhunter2
-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n
'''.strip().splitlines()

PLAIN = r"""
KeyError: 'name'
Duplicate entry '5' for key 'users.email'
the primary key of entities
Traceback (most recent call last):
File "/srv/app/handlers/entities.py", line 118, in create
Unexpected token < in JSON at position 0
WWW-Authenticate: Bearer realm="x", error="invalid_token"
Basic authentication failed for user
passed: 3, failed: 2
passenger: 3
http://localhost:8080/a/b
http://localhost:8080/a/b@c
at System.Data.SqlClient.SqlConnection.Open() in C:\src\Db.cs:line 42
org.postgresql.util.PSQLException: FATAL: no pg_hba.conf entry
java.lang.NullPointerException at com.acme.auth.AuthFilter.doFilter(AuthFilter.java:42)
AuthenticationError: not signed in
psycopg.OperationalError: connection to server at "10.0.0.1", port 5432 failed
Vary: Cookie, Authorization
Access-Control-Allow-Headers: X-Auth-Token, Authorization
keyboard: qwerty
<option value="5">passed</option>
<a value='5' title='passed'>
the password is needed, is it not?
> the token was lost
""".strip().splitlines()
