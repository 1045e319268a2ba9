//! Runs the scripts in `servers/`.

use std::{
    env, fmt,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Why something is not there.
#[derive(Debug, Clone)]
pub struct Absent(pub(crate) String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// Where installed things are kept between runs.
pub(crate) fn cache() -> Result<PathBuf, Absent> {
    let given = env::var_os("NOCTURNE_TEST_CACHE").map(PathBuf::from);
    let home =
        || env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let dir = given.or_else(|| Some(home()?.join("nocturne-tests"))).unwrap_or_else(|| env::temp_dir().join("nocturne-tests"));
    fs::create_dir_all(&dir).map_err(|error| Absent(format!("making the cache {}: {error}", dir.display())))?;
    Ok(dir)
}

/// The folder of the scripts.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// Runs a script to its end; what it printed.
pub(crate) fn run(script: &str, args: &[&str], variables: &[(&str, &str)]) -> Result<String, Absent> {
    let output = Command::new("bash")
        .arg(scripts().join(script))
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Absent(format!("running {script}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = said.lines().rev().take(6).collect();
    Err(Absent(format!("{script} {}: {}", args.join(" "), end.into_iter().rev().collect::<Vec<_>>().join(" | "))))
}

/// Installs something once, whoever else wants it at the same time.
pub(crate) fn install(name: &str, script: &str, more: &[&str]) -> Result<PathBuf, Absent> {
    let cache = cache()?;
    let failed = |error: std::io::Error| Absent(format!("locking the cache {}: {error}", cache.display()));
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let dir = cache.join(name);
    let text = dir.to_string_lossy().into_owned();
    let args: Vec<&str> = [text.as_str()].into_iter().chain(more.iter().copied()).collect();
    run(script, &args, &[])?;
    Ok(dir)
}

/// A port on which nobody listens, with `more` free ones after it.
pub(crate) fn free_ports(more: u16) -> Result<u16, Absent> {
    for _ in 0..50 {
        let Ok(first) = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()) else { continue };
        let port = first.port();
        // What systems hand out to clients begins above; a client must not take a port between the look and the start.
        let port = 10_000 + port % 20_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (0..=more).all(|n| free(port + n)) && free(port + 100) {
            return Ok(port);
        }
    }
    Err(Absent("no free ports".to_owned()))
}

/// Stops a server when the process that holds this is gone.
#[derive(Debug)]
pub(crate) struct Guardian(Child);

impl Guardian {
    /// `stop` is a script in `servers/` that gets the data folder.
    pub(crate) fn over(stop: &str, data: &Path) -> Result<Self, Absent> {
        let line = "read -r _; bash \"$0\" \"$1\" -9; rm -rf \"$1\"";
        let child = Command::new("bash")
            .args(["-c", line])
            .arg(scripts().join(stop))
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Self).map_err(|error| Absent(format!("starting a guardian: {error}")))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// A folder for a server's data; its guardian removes it.
pub(crate) fn data() -> Result<PathBuf, Absent> {
    tempfile::Builder::new()
        .prefix("nocturne-")
        .tempdir()
        .map(tempfile::TempDir::keep)
        .map_err(|error| Absent(format!("making a temporary folder: {error}")))
}
