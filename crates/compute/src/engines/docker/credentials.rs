//! What the daemon is to tell the registry of an image. Secrets are neither kept nor logged.

use super::image::ImageName;
use bacalhau_images::{Credentials, Login};
use bollard::auth::DockerCredentials;

/// Credentials for an image, if there are any. What cannot be read is logged and counts as none: most images are for
/// everybody.
pub(super) async fn find(credentials: &Credentials, image: &ImageName) -> Option<DockerCredentials> {
    let reference = image.reference()?;
    let login = credentials.login(reference).await.unwrap_or_else(|error| {
        tracing::warn!(image = image.text(), %error, "going to the registry without credentials");
        Login::Anonymous
    });
    let mut found = DockerCredentials {
        serveraddress: Some(Credentials::server(reference).to_owned()),
        ..DockerCredentials::default()
    };
    match login {
        Login::Anonymous => return None,
        Login::Basic { username, password } => {
            (found.username, found.password) = (Some(username), Some(password));
        }
        Login::Identity(token) => found.identitytoken = Some(token),
        Login::Registry(token) => found.registrytoken = Some(token),
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_the_daemons_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let credentials = Credentials::from_docker_config(&path).with_docker_hub("hub", "secret");
        let find = async |name: &str| find(&credentials, &ImageName::parse(name).unwrap()).await;
        assert_eq!(find("localhost:5000/a").await, None);
        let text = r#"{"auths": {"localhost:5000": {"username": "me", "password": "pass"},
            "https://old.example/v1/": {"identitytoken": "i"}, "direct.example": {"registrytoken": "r"}}}"#;
        std::fs::write(&path, text).unwrap();
        let own = find("localhost:5000/a").await.unwrap();
        assert_eq!((own.username.as_deref(), own.password.as_deref()), (Some("me"), Some("pass")));
        assert_eq!(own.serveraddress.as_deref(), Some("localhost:5000"));
        let hub = find("x").await.unwrap();
        assert_eq!(hub.username.as_deref(), Some("hub"));
        assert_eq!(hub.serveraddress.as_deref(), Some("https://index.docker.io/v1/"));
        assert_eq!(find("old.example/x").await.unwrap().identitytoken.as_deref(), Some("i"));
        assert_eq!(find("direct.example/x").await.unwrap().registrytoken.as_deref(), Some("r"));
        assert_eq!(find("other.example/x").await, None);
        // An ID is no business of any registry; a broken file is no reason to fail.
        assert_eq!(find(&"0".repeat(64)).await, None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(find("localhost:5000/a").await, None);
    }
}
