// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/**
 * Takes a lock, says "held", and gives it back when its standard input ends. If
 * it does not get the lock within the given seconds it says "busy".
 */
public class CuratorLock {
  public static void main(String[] args) throws Exception {
    CuratorFramework client = CuratorFrameworkFactory.newClient("127.0.0.1:2181", new RetryOneTime(100));
    client.start();
    InterProcessMutex mutex = new InterProcessMutex(client, args[0]);
    if (mutex.acquire(Long.parseLong(args[1]), TimeUnit.SECONDS)) {
      System.out.println("held");
      while (System.in.read() >= 0) {}
      mutex.release();
    } else {
      System.out.println("busy");
    }
    client.close();
  }
}
