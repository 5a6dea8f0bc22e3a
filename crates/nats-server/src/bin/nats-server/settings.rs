//! What the program does with the configuration beside running the server: its log and its files. They follow when the
//! configuration is reloaded.

use std::path::PathBuf;
use std::sync::Arc;

use bacalhau_nats_server::{Server, conf};

use crate::files::{PidFile, PortsFile};
use crate::flags::Flags;
use crate::log::{Level, Log};

/// The settings of the log and of files, as the configuration and the flags have them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    debug: bool,
    trace: bool,
    log_time: bool,
    log_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    ports_file_dir: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn new(config: &conf::ServerConfig) -> Settings {
        Settings {
            debug: config.debug,
            trace: config.trace,
            log_time: config.log_time,
            log_file: config.log_file.clone(),
            pid_file: config.pid_file.clone(),
            ports_file_dir: config.ports_file_dir.clone(),
        }
    }

    fn level(&self) -> Level {
        match (self.trace, self.debug) {
            (true, _) => Level::TRACE,
            (_, true) => Level::DEBUG,
            _ => Level::INFO,
        }
    }

    pub(crate) fn open_log(&self) -> Result<Log, String> {
        Log::open(self.log_file.as_deref(), self.level(), self.log_time)
    }
}

/// The configuration to start with, as the file and the flags have it; the flags count more. An empty file is worth a
/// word, and no reason not to start.
pub(crate) fn start(flags: &Flags) -> Result<conf::ServerConfig, String> {
    let loaded = match flags.config.as_ref().map(conf::load) {
        Some(Err(error @ conf::ConfError::Empty { .. })) if !flags.test => {
            Ok(conf::ServerConfig { warnings: vec![error.to_string()], ..conf::ServerConfig::default() })
        }
        Some(loaded) => loaded,
        None => Ok(conf::ServerConfig::default()),
    };
    with_flags(flags, loaded)
}

/// The configuration as the file has it now, below the flags.
fn again(flags: &Flags) -> Result<conf::ServerConfig, String> {
    let path =
        flags.config.as_ref().ok_or("can only reload config when a file is provided using -c or --config")?;
    with_flags(flags, conf::load(path))
}

fn with_flags(
    flags: &Flags,
    loaded: Result<conf::ServerConfig, conf::ConfError>,
) -> Result<conf::ServerConfig, String> {
    let mut config = loaded.map_err(|error| error.to_string())?;
    flags.apply(&mut config)?;
    Ok(config)
}

/// The files that tell others about this process; they are removed with this value.
pub(crate) struct Files {
    settings: Settings,
    pid: Option<PidFile>,
    ports: Option<PortsFile>,
}

impl Files {
    /// Writes the file with the process id; the one with the ports follows when they are known.
    pub(crate) fn new(settings: Settings) -> Result<Files, String> {
        let pid = settings.pid_file.as_deref().map(PidFile::write).transpose()?;
        Ok(Files { settings, pid, ports: None })
    }

    /// Tells which ports were opened.
    pub(crate) fn write_ports(&mut self, server: &Server) -> Result<(), String> {
        let folder = self.settings.ports_file_dir.as_deref();
        self.ports = folder.map(|folder| PortsFile::write(folder, server)).transpose()?;
        Ok(())
    }

    /// Reads the configuration again and lets the server, the log and the files follow. Everything that can be wrong with
    /// it is found before anything changes; only a file that cannot be written is found later, and is no reason to undo
    /// the rest.
    pub(crate) fn reload(&mut self, flags: &Flags, server: &Server, log: &Arc<Log>) -> Result<(), String> {
        let config = again(flags)?;
        let settings = Settings::new(&config);
        let moved = settings.log_file != self.settings.log_file;
        let sink = moved.then(|| Log::sink_for(settings.log_file.as_deref())).transpose()?;
        let done = server.reload(config.options).map_err(|error| error.to_string())?;
        config.warnings.iter().for_each(|warning| log.line("WRN", warning));
        let say = |text: &str| log.line("INF", &format!("Reloaded: {text}"));
        let old = std::mem::replace(&mut self.settings, settings);
        let new = &self.settings;
        for (name, old, new) in [
            ("debug", old.debug, new.debug),
            ("trace", old.trace, new.trace),
            ("logtime", old.log_time, new.log_time),
        ] {
            if old != new {
                say(&format!("{name} = {new}"));
            }
        }
        for change in &done.changes {
            say(&change.to_string());
        }
        let shown = |path: &Option<PathBuf>| path.as_deref().unwrap_or("".as_ref()).display().to_string();
        if let Some(sink) = sink {
            say(&format!("log_file = {}", shown(&new.log_file)));
            log.set_sink(sink);
        }
        log.set_form(new.level(), new.log_time);
        if old.pid_file != new.pid_file {
            // The old one goes, then the new one comes.
            self.pid = None;
            match new.pid_file.as_deref().map(PidFile::write).transpose() {
                Ok(file) => self.pid = file,
                Err(problem) => log.line("ERR", &problem),
            }
            say(&format!("pid_file = {}", shown(&new.pid_file)));
        }
        if old.ports_file_dir != new.ports_file_dir {
            self.ports = None;
            say(&format!("ports_file_dir = {}", shown(&new.ports_file_dir)));
            if let Err(problem) = self.write_ports(server) {
                log.line("ERR", &problem);
            }
        }
        Ok(())
    }
}
