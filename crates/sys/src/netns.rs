//! Network namespaces, held by descriptors: they last as long as somebody holds them or lives in them.
//!
//! A thread that has entered one is never given back: [`Namespace::run`] makes a fresh thread, because a
//! thread that cannot return to where it came from must not go on working for others.

use crate::error::{Result, SysError};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

/// Where named namespaces are bound, as `ip netns` expects them.
const NAMED: &str = "/run/netns";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(clippy::missing_errors_doc, reason = "each error names the system call that failed")]
impl Namespace {
    /// A new namespace without a name. Its loopback interface is down. Needs `CAP_SYS_ADMIN`.
    pub fn create() -> Result<Self> {
        let made = thread::spawn(|| {
            // SAFETY: unshare takes no pointers; this thread does nothing else and ends.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(SysError::last("unshare", "network namespace"));
            }
            Self::current()
        });
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net".into())
    }

    /// The namespace that has this name for `ip netns`.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(named_path(name)?)
    }

    /// The namespace of a process.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net").into())
    }

    fn open(path: PathBuf) -> Result<Self> {
        let object = path.display().to_string();
        let file = File::open(path).map_err(|e| SysError::io("open", object, &e))?;
        Ok(Self { fd: file.into() })
    }

    /// The inode that tells it from others.
    pub fn id(&self) -> Result<u64> {
        let file = self.fd.try_clone().map(File::from);
        let metadata = file.and_then(|file| file.metadata());
        let metadata = metadata.map_err(|e| SysError::io("fstat", "network namespace", &e))?;
        Ok(std::os::unix::fs::MetadataExt::ino(&metadata))
    }

    /// Another hold on the same namespace.
    pub fn share(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|e| SysError::io("dup", "network namespace", &e))?;
        Ok(Self { fd })
    }

    /// Moves the calling thread into it, for good. For threads and processes that live there; others use
    /// [`Namespace::run`].
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the descriptor is open, and setns takes no pointers.
        if unsafe { libc::setns(self.fd.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(SysError::last("setns", "network namespace"));
        }
        Ok(())
    }

    /// Runs a closure on a fresh thread inside the namespace, and waits for it. A panic goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives it a name, so that `ip netns exec` finds it and it lasts until [`remove`]. Fails with `EEXIST` if
    /// the name is taken.
    pub fn bind(&self, name: &str) -> Result<()> {
        let path = named_path(name)?;
        let object = path.display().to_string();
        fs::create_dir_all(NAMED).map_err(|e| SysError::io("mkdir", NAMED, &e))?;
        File::create_new(&path).map_err(|e| SysError::io("open", object.clone(), &e))?;
        let source = CString::new(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
            .expect("a number contains no zero byte");
        let target = c_path(&path)?;
        // SAFETY: both paths end with a zero; the type and the data of a bind mount are not read.
        let result = unsafe {
            libc::mount(source.as_ptr(), target.as_ptr(), c"none".as_ptr(), libc::MS_BIND, std::ptr::null())
        };
        if result != 0 {
            let error = SysError::last("mount", object);
            // The file is ours, made above; what cannot be removed is said by the mount's own error.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(())
    }
}

/// Takes a name away. The namespace itself lasts as long as somebody holds it.
///
/// # Errors
/// `EINVAL` for something that is no name, `ENOENT` if it is not there; the failing system call.
pub fn remove(name: &str) -> Result<()> {
    let path = named_path(name)?;
    let object = path.display().to_string();
    let target = c_path(&path)?;
    // SAFETY: the path ends with a zero.
    if unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } != 0 {
        let error = SysError::last("umount", object.clone());
        // A file that nothing is mounted on is left over from somebody who was killed; it goes too.
        if error.errno != libc::EINVAL {
            return Err(error);
        }
    }
    fs::remove_file(&path).map_err(|e| SysError::io("unlink", object, &e))
}

fn named_path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || name.len() > 64 {
        return Err(SysError::new("open", format!("namespace {name:?}"), libc::EINVAL));
    }
    Ok(PathBuf::from(NAMED).join(name))
}

fn c_path(path: &std::path::Path) -> Result<CString> {
    let bytes = path.as_os_str().as_encoded_bytes();
    CString::new(bytes).map_err(|_| SysError::new("open", path.display().to_string(), libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Linux, Sys};

    #[test]
    fn a_new_namespace_is_another_and_has_loopback_only() {
        let here = Namespace::current().unwrap().id().unwrap();
        let namespace = Namespace::create().expect("tests run as root");
        assert_ne!(namespace.id().unwrap(), here);
        let names = namespace
            .run(|| Linux::new().links().unwrap().into_iter().map(|link| link.name).collect::<Vec<_>>())
            .unwrap();
        assert_eq!(names, ["lo"]);
        assert_eq!(Namespace::current().unwrap().id().unwrap(), here, "the caller has not moved");
    }

    #[test]
    fn a_name_outlives_the_descriptor_until_removed() {
        let name = format!("sys-test-{}", std::process::id());
        let namespace = Namespace::create().expect("tests run as root");
        let id = namespace.id().unwrap();
        namespace.bind(&name).unwrap();
        assert_eq!(namespace.bind(&name).unwrap_err().errno, libc::EEXIST);
        drop(namespace);
        let found = Namespace::named(&name).and_then(|namespace| namespace.id());
        remove(&name).unwrap();
        assert_eq!(found.unwrap(), id);
        assert_eq!(Namespace::named(&name).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn refuses_names_that_are_paths() {
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert_eq!(Namespace::named(name).unwrap_err().errno, libc::EINVAL, "{name:?}");
        }
    }
}
