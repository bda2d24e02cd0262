// An unmodified oidc-provider: whoever signs in with any password is who they say, as its development pages allow.
import Provider from 'oidc-provider'

const { port, client, verified, methods } = JSON.parse(process.argv[2])
const issuer = `http://127.0.0.1:${port}`

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [client.redirect_uri],
      post_logout_redirect_uris: [client.post_logout_redirect_uri],
    },
  ],
  claims: { email: ['email', 'email_verified'], profile: ['name'] },
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: id, email_verified: verified, name: `Person ${id}`, amr: methods }),
  }),
})

provider.on('server_error', (_context, error) => console.error(error))
provider.listen(port, '127.0.0.1', () => console.log(issuer))
